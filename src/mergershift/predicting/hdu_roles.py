"""Roles of HDUs and files: which contain images, which say what pixels are worth, and which are something else.

Names follow the products of HST's and JWST's pipelines (SCI, ERR, DQ, WHT, CTX, CON, VAR_*), of CCDData (MASK, UNCERT),
of the pipelines of HSC and Rubin (IMAGE, MASK, VARIANCE) and of surveys (weight, rms, seg, exp).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from astropy.io.fits import Header

from mergershift.predicting.fits_access import Hdu

Role = Literal["image", "weight", "error", "bad", "other"]
SCIENCE = frozenset({"SCI", "SCIENCE", "IMAGES", "IMAGE", "DATA"})
"""Names of HDUs with images, which count before unnamed ones."""
_ROLES: dict[str, Role] = {
    **dict.fromkeys(("WHT", "WEIGHT", "WEIGHTS", "WGT", "IVAR", "INVVAR", "INVERSEVARIANCE"), "weight"),
    **dict.fromkeys(("WT", "WTMAP", "WMAP", "WHTMAP", "WEIGHTMAP", "IVARMAP"), "weight"),
    **dict.fromkeys(
        ("ERR", "ERROR", "UNCERT", "UNCERTAINTY", "SIGMA", "RMS", "STD", "STDDEV", "NOISE"), "error"
    ),
    **dict.fromkeys(
        ("VAR", "VARIANCE", "VARMAP", "STAT", "UNC", "RMSMAP", "ERRMAP", "ERRORMAP", "NOISEMAP"), "error"
    ),
    **dict.fromkeys(("DQ", "MASK", "FLAG", "FLAGS", "BADPIX", "QUALITY", "MSK", "FLG"), "bad"),
    **dict.fromkeys(
        ("CON", "CTX", "CONTEXT", "EXP", "EXPOSURE", "EXPTIME", "SEG", "SEGM", "SEGMENTATION", "SEGMAP"),
        "other",
    ),
    **dict.fromkeys(("PSF", "BKG", "BACKGROUND", "MODEL", "RESIDUAL", "AREA", "COVERAGE", "NMAP"), "other"),
    **dict.fromkeys(("EXPMAP", "NEXP", "RESID", "RESIDUALS", "CHI", "CHISQ", "SKYMODEL"), "other"),
}
_OF_FILES = re.compile(r"[_\-. ]([A-Za-z]+)$")
_IN_FILES = re.compile(
    r"(?:(?<![^_\-. ])|[_\-. ])(wht|weights?|wgt|i(?:nv)?var|rms|err|dq|ctx|msk|flg)(?![^_\-. ])",
    re.IGNORECASE,
)
"""Words that name the role of a file wherever they are in its name, as in ``g0_wht_f160w`` and ``VIS-RMS_TILE7``."""
_SCIENCE_IN_FILES = re.compile(r"(?:(?<![^_\-. ])|[_\-. ])(?:sci|image|img)(?![^_\-. ])", re.IGNORECASE)
_SPLIT = re.compile(r"[^A-Za-z]+")
_NO_VALUE = ("BAD", "SAT", "CR", "NO_DATA", "UNMASKEDNAN", "SENSOR_EDGE")
"""Planes of the masks of HSC and Rubin that mean that a pixel has no value; others mark detections and the like."""
DO_NOT_USE = 1
"""The bit of a data-quality plane of JWST that means that a pixel has no good value."""


def role_of_hdu(name: str, version: str = "") -> Role:
    """Return the role of an HDU with an image by its EXTNAME and EXTVER; `image` for names that say nothing."""
    words = [word.upper() for word in (*_SPLIT.split(name), *_SPLIT.split(version)) if word]
    return next((_ROLES[word] for word in words if word in _ROLES), "image")


def sky_images(hdus: Sequence[Hdu]) -> list[Hdu]:
    """Select the HDUs with images of the sky: those that are named so, else those whose names say nothing."""
    sky = [hdu for hdu in hdus if role_of_hdu(hdu.name, hdu.version) == "image"]
    named = [hdu for hdu in sky if SCIENCE & set(hdu.name.replace("-", "_").split("_"))]
    return named or sky


def is_flat(hdu: Hdu) -> bool:
    """Whether an HDU contains a single image, whatever its number of axes."""
    return len(hdu.shape) >= 2 and all(length == 1 for length in hdu.shape[:-2])


def role_of_file(stem: str) -> Role:
    """Return the role of a file by its name without suffix, as in ``f160w_drz_weight``."""
    found = _OF_FILES.search(stem)
    if found and found[1].upper() in _ROLES:
        return _ROLES[found[1].upper()]
    within = _IN_FILES.search(stem)
    return _ROLES[within[1].upper()] if within else "image"


def common_stem(stem: str) -> str:
    """Remove what names the role of a file wherever it is, so that an image and its weights have the same name."""
    shorter = without_role(stem)
    return _SCIENCE_IN_FILES.sub("", _IN_FILES.sub("", shorter)).strip("_-. ")


def without_role(stem: str) -> str:
    """Remove what names the role of a file, so that an image and its weights have the same name."""
    found = _OF_FILES.search(stem)
    named = found is not None and (found[1].upper() in _ROLES or found[1].upper() in SCIENCE)
    return stem[: found.start()] if found is not None and named else stem


def bad_bits(headers: Sequence[Header]) -> int:
    """Return the bits of a mask that mean that a pixel has no value; -1, all of them, if the headers do not say.

    Args:
        headers: Headers of the mask and of the file.
    """
    planes = {
        keyword[3:]: int(header[keyword])
        for header in headers
        for keyword in header
        if keyword.startswith("MP_") and isinstance(header[keyword], int)
    }
    if planes:
        return sum(1 << planes[name] for name in _NO_VALUE if name in planes)
    telescope = next((str(header["TELESCOP"]) for header in headers if header.get("TELESCOP")), "")
    return DO_NOT_USE if telescope.strip().upper() == "JWST" else -1
