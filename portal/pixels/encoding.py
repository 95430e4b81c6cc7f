"""Frames compressed without loss, for a destination that takes no uncompressed ones (PS3.5 8.2.2 to 8.2.4)."""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import ENCODING_PROFILES, get_encoder
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from portal.errors import PortalError

TARGETS = (JPEG2000Lossless, JPEGLSLossless, RLELossless)
"""Transfer syntaxes that frames are compressed to."""
RLE_BITS_ALLOCATED = (8, 16, 32)
MAX_PRECISION = 24
"""Bits of a sample that the encoder of JPEG 2000 takes."""

_NAMES = ("samples_per_pixel", "photometric_interpretation", "bits_allocated", "pixel_representation")


def require_possible(syntax: UID, pixels: Mapping[str, Any]) -> None:
    """Raise PortalError unless the transfer syntax can hold pixels of this description (PS3.5 8.2)."""
    described: list[Any] = [pixels.get(name) for name in _NAMES]
    samples, kind, bits, representation = described
    stored = int(pixels.get("bits_stored") or 0)
    if syntax == RLELossless:
        possible = bits in RLE_BITS_ALLOCATED
    else:
        possible = stored <= MAX_PRECISION and any(
            (kind, samples) == (one[0], one[1]) and representation in one[2] and bits in one[3] and stored in one[4]
            for one in ENCODING_PROFILES[syntax]
        )
    if not possible:
        raise PortalError(
            f"{syntax.name} does not hold such pixels: {kind}, {samples} samples, {stored} of {bits} bits."
        )


def encode(frame: NDArray[Any], syntax: UID, pixels: Mapping[str, Any]) -> bytes:
    """One frame, compressed; decoding it again has shown that nothing is lost.

    The samples have as many bits as are stored; where that loses something (overlays in the bits above, signed pixels
    in JPEG-LS), as many as are allocated. Raises PortalError where neither gives the same pixels, as for some of only
    a few rows and columns, at which the encoders fail.
    """
    options = {**{name: pixels[name] for name in _NAMES}, "rows": frame.shape[0], "columns": frame.shape[1]}
    options |= {"number_of_frames": 1, "planar_configuration": 0}
    allocated, stored = int(pixels["bits_allocated"]), int(pixels["bits_stored"])
    if syntax != RLELossless and pixels["pixel_representation"] == 1 and _exceeds(frame, stored):
        # A receiver that goes by Bits Stored reads these samples with a sign, one that goes by the codestream without.
        raise PortalError(
            f"These signed pixels do not fit in their {stored} stored bits: {syntax.name} could change them."
        )
    for precision in (allocated,) if syntax == RLELossless else dict.fromkeys((stored, allocated)):
        try:
            encoded = get_encoder(syntax).encode(frame, validate=False, **options, bits_stored=precision)
            described = {**options, "bits_stored": stored, "pixel_keyword": "PixelData", "correct_unused_bits": False}
            decoded, _ = get_decoder(syntax).as_array(encapsulate([encoded]), raw=True, **described)
        except (RuntimeError, ValueError, struct.error):
            continue
        if decoded.dtype == frame.dtype.newbyteorder("=") and np.array_equal(decoded, frame):
            return encoded
    raise PortalError(f"These pixels cannot be compressed to {syntax.name} without loss.")


def _exceeds(frame: NDArray[Any], bits: int) -> bool:
    """Whether a sample is outside what a signed number of so many bits can say."""
    half = 1 << (bits - 1)
    return bool(frame.min() < -half or frame.max() >= half)
