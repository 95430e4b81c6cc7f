"""One frame of a DICOM object as a picture. Runs in the sandbox (`process`), because vendor pixels are hostile."""

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

from portal.errors import BadValue
from portal.pixels import png

MAX_FRAME_SAMPLES = 100_000_000
"""A larger frame is not decoded."""
DEFER_SIZE = 1 << 20
"""Bytes from which on an element is not read at once."""
BLACK_PERCENTILE, WHITE_PERCENTILE = 0.5, 99.5
"""Percentiles that become black and white, where the object has no window."""
_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")

Samples = NDArray[Any]


def render(content: BinaryIO, frame: int, side: int) -> bytes:
    """A PNG of one frame, counted from 0, at most `side` pixels wide and high, in its own window.

    Raises BadValue where the object has no such frame, and whatever a decoder raises for pixels that it cannot read.
    """
    ds = dcmread(content, stop_before_pixels=True, defer_size=DEFER_SIZE)
    rows, columns = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    if not rows or not columns:
        raise BadValue("The object has no picture.")
    if rows * columns * int(ds.get("SamplesPerPixel") or 1) > MAX_FRAME_SAMPLES:
        raise BadValue("The picture is too large to be displayed here. Download the file.")
    frames = int(ds.get("NumberOfFrames") or 1)
    if not 0 <= frame < max(frames, 1):
        raise BadValue(f"The object has {frames} frames.")

    content.seek(0)
    deflated = ds.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    samples = pixel_array(dcmread(content) if deflated else content, index=frame)
    kind = str(ds.get("PhotometricInterpretation", "")).strip()
    step = int(-(-max(samples.shape[:2]) // side))
    if kind == "PALETTE COLOR":
        return png.encode(_eight_bits(apply_color_lut(samples[::step, ::step], ds)))

    # Each block of pixels becomes its mean; pixels in no whole block at the right and below are left out.
    step = min(step, *samples.shape[:2])
    rows, columns = samples.shape[0] // step, samples.shape[1] // step
    blocks = samples[: rows * step, : columns * step].reshape(rows, step, columns, step, *samples.shape[2:])
    samples = blocks.mean(axis=(1, 3), dtype=np.float32)
    if samples.ndim == 3:
        return png.encode(_eight_bits(samples[..., :3], int(ds.get("BitsStored", 8))))
    grey = _grey(samples, ds, frame)
    grey = np.nan_to_num(1 - grey if kind == "MONOCHROME1" else grey)
    return png.encode(np.asarray(np.clip(grey, 0, 1) * 255, np.uint8))


def _eight_bits(samples: Samples, bits: int = 0) -> NDArray[np.uint8]:
    """Colours: 16-bit ones lose their lower half."""
    if samples.dtype == np.uint16:
        bits = 16
    scaled = samples / (1 << (bits - 8)) if bits > 8 else samples
    return np.asarray(np.clip(scaled, 0, 255), np.uint8)


def _grey(samples: Samples, ds: Dataset, frame: int) -> Samples:
    """Grey values from 0 to 1: by the object's window, or by their range where it has no window that shows anything."""
    # Modality LUT (PS3.3 C.11.1).
    if "ModalityLUTSequence" in ds:
        values = np.asarray(apply_modality_lut(np.rint(samples).astype(np.int32), ds), np.float32)
    else:
        transformation = _group(ds, frame, "PixelValueTransformationSequence") or ds
        slope = _number(transformation, "RescaleSlope", 1)
        intercept = _number(transformation, "RescaleIntercept", 0)
        values = samples * np.float32(slope) + np.float32(intercept)

    windowed = _windowed(values, _group(ds, frame, "FrameVOILUTSequence") or ds)
    if windowed is not None and float(windowed.max()) > float(windowed.min()):
        return windowed

    padding = _number(ds, "PixelPaddingValue", None)
    is_image = np.ones(samples.shape, bool) if padding is None else samples != padding
    counted = values[is_image] if is_image.any() else values
    low, high = np.nanpercentile(counted, (BLACK_PERCENTILE, WHITE_PERCENTILE))
    if high <= low:
        low, high = float(np.nanmin(counted)), float(np.nanmax(counted))
    return (values - low) / (high - low) if high > low else np.zeros(values.shape, np.float32)


def _windowed(values: Samples, ds: Dataset) -> Samples | None:
    """By the first window (PS3.3 C.11.2), from 0 to 1; None where there is no usable one."""
    center, width = _number(ds, "WindowCenter", None), _number(ds, "WindowWidth", None)
    if center is None or width is None or width <= 0 or not np.isfinite((center, width)).all():
        return None
    # PS3.3 C.11.2.1.2 and C.11.2.1.3
    function = str(ds.get("VOILUTFunction", "LINEAR"))
    if function == "SIGMOID":
        windowed = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -50, 50)))
    elif function == "LINEAR_EXACT" or width <= 1:
        windowed = np.clip((values - center) / width + 0.5, 0, 1)
    else:
        windowed = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    return np.asarray(windowed)


def _group(ds: Dataset, frame: int, name: str) -> Dataset | None:
    """The functional group of a frame: its own, else the one that all frames share (PS3.3 C.7.6.16)."""
    for keyword, number in zip(_GROUPS, (frame, 0), strict=True):
        items = ds.get(keyword) or ()
        if number < len(items) and items[number].get(name):
            group: Dataset = items[number][name].value[0]
            return group
    return None


def _number(ds: Dataset, keyword: str, default: Any) -> Any:
    """The first value of an element as a number."""
    try:
        value = ds.get(keyword)
        if value is None or value == "":
            return default
        return float(value if isinstance(value, str | int | float) else value[0])
    except (ValueError, TypeError, IndexError, ArithmeticError):
        return default
