"""Verification of the whole site: audit log and anchors, archive, files, index, manifests."""
