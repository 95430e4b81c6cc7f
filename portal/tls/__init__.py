"""Certificates for DICOM over TLS: the site's own, what is read from PEM, and whether a chain holds."""
