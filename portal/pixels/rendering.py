"""One frame of a DICOM object as a picture. Runs shut in (`pixel_process`), because vendor pixels are hostile."""

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
"""Samples of a frame that is still decoded: 100 million."""
DEFER_SIZE = 1 << 20
"""Bytes of an element that is read at once; a larger one is left where it is."""
BLACK_PERCENTILE, WHITE_PERCENTILE = 0.5, 99.5
"""Percentiles that become black and white, where the object names no window."""
_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")

Samples = NDArray[Any]


def render(content: BinaryIO, frame: int, side: int) -> bytes:
    """A PNG of one frame, counted from 0, at most `side` pixels long, as its own window shows it.

    Raises BadValue where there are no such pixels, and whatever a decoder raises at pixels that it cannot read.
    """
    ds = dcmread(content, stop_before_pixels=True, defer_size=DEFER_SIZE)
    _check(ds, frame)
    content.seek(0)
    deflated = ds.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    samples = pixel_array(dcmread(content) if deflated else content, index=frame)
    kind = str(ds.get("PhotometricInterpretation", "")).strip()
    if kind == "PALETTE COLOR":
        return png.encode(_eight_bits(apply_color_lut(_thinned(samples, side), ds)))
    samples = _shrunk(samples, side)
    if samples.ndim == 3:
        return png.encode(_eight_bits(samples[..., :3], int(ds.get("BitsStored", 8))))
    shown = _windowed(samples, ds, frame)
    return png.encode(_to_bytes(1 - shown if kind == "MONOCHROME1" else shown))


def _check(ds: Dataset, frame: int) -> None:
    rows, columns = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    if not rows or not columns:
        raise BadValue("The object has no picture.")
    if rows * columns * int(ds.get("SamplesPerPixel") or 1) > MAX_FRAME_SAMPLES:
        raise BadValue("The picture is too large to be shown here. Download the file.")
    frames = int(ds.get("NumberOfFrames") or 1)
    if not 0 <= frame < max(frames, 1):
        raise BadValue(f"The object has {frames} frames.")


def _step(samples: Samples, side: int) -> int:
    """How many pixels become one, along each side."""
    return int(-(-max(samples.shape[:2]) // side))


def _thinned(samples: Samples, side: int) -> Samples:
    step = _step(samples, side)
    return samples[::step, ::step]


def _shrunk(samples: Samples, side: int) -> Samples:
    """Each block of pixels as its mean; pixels that fill no whole block at the right and below are left out."""
    step = min(_step(samples, side), *samples.shape[:2])
    rows, columns = samples.shape[0] // step, samples.shape[1] // step
    blocks = samples[: rows * step, : columns * step].reshape(rows, step, columns, step, *samples.shape[2:])
    means: Samples = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means


def _eight_bits(samples: Samples, bits: int = 0) -> NDArray[np.uint8]:
    """Colours: 16-bit ones lose their lower half."""
    if samples.dtype == np.uint16:
        bits = 16
    scaled = samples / (1 << (bits - 8)) if bits > 8 else samples
    return np.asarray(np.clip(scaled, 0, 255), np.uint8)


def _to_bytes(shown: Samples) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.nan_to_num(shown), 0, 1) * 255, np.uint8)


def _windowed(samples: Samples, ds: Dataset, frame: int) -> Samples:
    """Grey values from 0 to 1: by the object's window, or by what is there where it has none that shows anything."""
    values = _rescaled(samples, ds, frame)
    window = _window(ds, frame)
    if window:
        shown = _through(values, *window)
        if float(shown.max()) > float(shown.min()):
            return shown
    return _stretched(values[_not_padding(samples, ds)], values)


def _rescaled(samples: Samples, ds: Dataset, frame: int) -> Samples:
    """Modality LUT (PS3.3 C.11.1)."""
    if "ModalityLUTSequence" in ds:
        return np.asarray(apply_modality_lut(np.rint(samples).astype(np.int32), ds), np.float32)
    found = _group(ds, frame, "PixelValueTransformationSequence") or ds
    slope, intercept = _number(found, "RescaleSlope", 1), _number(found, "RescaleIntercept", 0)
    return samples * np.float32(slope) + np.float32(intercept)


def _window(ds: Dataset, frame: int) -> tuple[float, float, str] | None:
    """Center, width and function of the first window (PS3.3 C.11.2); None where there is none that can be used."""
    found = _group(ds, frame, "FrameVOILUTSequence") or ds
    center, width = _number(found, "WindowCenter", None), _number(found, "WindowWidth", None)
    if center is None or width is None or width <= 0 or not np.isfinite((center, width)).all():
        return None
    return center, width, str(found.get("VOILUTFunction", "LINEAR"))


def _through(values: Samples, center: float, width: float, function: str) -> Samples:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -50, 50))))
    if function == "LINEAR_EXACT" or width <= 1:
        return np.clip((values - center) / width + 0.5, 0, 1)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _not_padding(samples: Samples, ds: Dataset) -> Any:
    padding = _number(ds, "PixelPaddingValue", None)
    there = np.ones(samples.shape, bool) if padding is None else samples != padding
    return there if there.any() else np.ones(samples.shape, bool)


def _stretched(counted: Samples, values: Samples) -> Samples:
    low, high = np.nanpercentile(counted, (BLACK_PERCENTILE, WHITE_PERCENTILE))
    if high <= low:
        low, high = float(np.nanmin(counted)), float(np.nanmax(counted))
    return (values - low) / (high - low) if high > low else np.zeros(values.shape, np.float32)


def _group(ds: Dataset, frame: int, name: str) -> Dataset | None:
    """The functional group of a frame: its own, else the one that all frames share (PS3.3 C.7.6.16)."""
    for keyword, number in zip(_GROUPS, (frame, 0), strict=True):
        items = ds.get(keyword) or ()
        if number < len(items) and items[number].get(name):
            found: Dataset = items[number][name].value[0]
            return found
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
