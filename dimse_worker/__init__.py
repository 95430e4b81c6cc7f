"""Everything that speaks DICOM over the network, and the job runner."""

import portal  # noqa: F401 (before NumPy, whose threads it forbids)
