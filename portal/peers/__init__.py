"""The second tab of Interfaces: DICOM peers, refused callers, associations."""
