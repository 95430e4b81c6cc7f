"""Everything that speaks DICOM over the network, and the job runner."""
