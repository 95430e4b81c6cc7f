"""The type and the MIME type of a file that is no DICOM object, where its name says them."""

_BY_ENDING = {
    ".nii": ("nifti", "application/octet-stream"),
    ".nii.gz": ("nifti", "application/gzip"),
    ".bval": ("bval", "text/plain"),
    ".bvec": ("bvec", "text/plain"),
    ".csv": ("tabular data", "text/csv"),
    ".csv.gz": ("tabular data", "application/gzip"),
    ".tsv": ("tabular data", "text/tab-separated-values"),
    ".xlsx": ("tabular data", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ".json": ("source code", "application/json"),
    ".py": ("source code", "text/x-python"),
    ".m": ("source code", "text/plain"),
    ".mat": ("MATLAB data", "application/octet-stream"),
    ".txt": ("text", "text/plain"),
    ".log": ("log", "text/plain"),
    ".md": ("markdown", "text/markdown"),
    ".html": ("HTML document", "text/html"),
    ".pdf": ("pdf", "application/pdf"),
    ".docx": ("document", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ".jpg": ("image", "image/jpeg"),
    ".jpeg": ("image", "image/jpeg"),
    ".png": ("image", "image/png"),
    ".tif": ("image", "image/tiff"),
    ".tiff": ("image", "image/tiff"),
    ".mp4": ("video", "video/mp4"),
    ".avi": ("video", "video/x-msvideo"),
    ".zip": ("archive", "application/zip"),
    ".tar": ("archive", "application/x-tar"),
    ".tar.gz": ("archive", "application/gzip"),
    ".tgz": ("archive", "application/gzip"),
}
"""The words that importers of this field filter by. A name alone makes nothing a DICOM object."""


def by_name(name: str) -> dict[str, str]:
    """`type` and `mimetype`; empty where the name says nothing."""
    parts = name.lower().rsplit(".", 2)
    for length in (2, 1):
        if len(parts) > length and (known := _BY_ENDING.get("." + ".".join(parts[-length:]))):
            return {"type": known[0], "mimetype": known[1]}
    return {}
