"""Catalogues of objects in the formats and with the columns that surveys use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pytest
from astropy import units
from astropy.coordinates import FK4, SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from pyarrow import parquet

from mergershift.core.errors import UserError
from mergershift.predicting.mosaics.catalogue import Catalogue, redshift_problem

RA, DEC, Z = [150.1, 150.2, 150.3], [2.1, -0.05, 2.3], [1.5, np.nan, -99.0]
SEXTRACTOR = """\
#   1 NUMBER                 Running object number
#   2 X_IMAGE                Object position along x                                    [pixel]
#   3 ALPHA_J2000            Right ascension of barycenter (J2000)                      [deg]
#   4 DELTA_J2000            Declination of barycenter (J2000)                          [deg]
#   5 MAG_APER               Fixed aperture magnitude vector                            [mag]
#   7 Z_BEST                 Redshift
         1   1500.2  150.1000000   +2.1000000  23.1  22.9  1.5
         2   1600.2  150.2000000   -0.0500000  23.1  22.9  nan
         3   1700.2  150.3000000   +2.3000000  23.1  22.9  -99.0
"""
HST = """\
# id x y ra dec z_phot use_phot
# 3D-HST v4.1
1 10.5 11.5 150.1 2.1 1.5 1
2 10.5 11.5 150.2 -0.05 nan 1
3 10.5 11.5 150.3 2.3 -99.0 0
"""
IPAC = """\
\\fixlen = T
|    id|       ra|      dec|  zphot|
|   int|   double|   double| double|
|      |      deg|      deg|       |
|  null|     null|     null|   null|
      1     150.1       2.1     1.5
      2     150.2     -0.05    null
      3     150.3       2.3   -99.0
"""


def plain(**names: str) -> Table:
    named = {"id": "id", "ra": "ra", "dec": "dec", "z": "z"} | names
    table = Table({named["id"]: [1, 2, 3], named["ra"]: RA, named["dec"]: DEC})
    table[named["z"]] = MaskedColumn(np.nan_to_num(Z, nan=0.0), mask=np.isnan(Z))
    return table


def write(path: Path, form: str) -> Path:
    cosmos = plain(id="ID", ra="ALPHA_J2000", dec="DELTA_J2000", z="lp_zBEST")
    vizier = plain(id="recno", ra="RAJ2000", dec="DEJ2000", z="zphot")
    if form == "fits":
        cosmos.write(path, format="fits")
    elif form == "parts":
        # Photometry and redshifts in tables of their own, with a list of something else between them.
        hdus = [
            fits.BinTableHDU(cosmos["ID", "ALPHA_J2000", "DELTA_J2000"], name="PHOTOMETRY"),
            fits.BinTableHDU(Table({"id": [1, 2]}), name="FILTERS"),
            fits.BinTableHDU(Table({"id": [1, 2, 3], "zfinal": Z}), name="LEPHARE"),
        ]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    elif form == "ldac":
        image = fits.BinTableHDU(Table({"Field Header Card": ["SIMPLE  =" + " " * 71]}), name="LDAC_IMHEAD")
        objects = Table({"NUMBER": [1, 2, 3], "ALPHA_J2000": RA, "DELTA_J2000": DEC, "redshift": Z})
        fits.HDUList([fits.PrimaryHDU(), image, fits.BinTableHDU(objects, name="LDAC_OBJECTS")]).writeto(path)
    elif form == "integers":
        columns = [
            fits.Column("ID", "K", array=[1, 2, 3]),
            fits.Column("RA", "D", array=RA),
            fits.Column("DEC", "D", array=DEC),
            fits.Column("Z", "D", array=Z),
        ]
        fits.BinTableHDU.from_columns(columns).writeto(path)
    elif form == "radians":
        table = QTable(
            {"id": [1, 2, 3], "ra": np.deg2rad(RA) * units.rad, "dec": np.deg2rad(DEC) * units.rad}
        )
        table["z"] = Z
        table.write(path, format="ascii.ecsv")
    elif form == "sky":
        sky = SkyCoord(RA, DEC, unit="deg", frame="icrs").transform_to("fk5")
        QTable({"id": [1, 2, 3], "sky": sky, "z": Z}).write(path, format="ascii.ecsv")
    elif form == "votable":
        vizier.write(path, format="votable")
    elif form == "sexagesimal":
        sky = SkyCoord(RA, DEC, unit="deg")
        vizier["RAJ2000"] = sky.ra.to_string("hour", sep=" ", precision=6)
        vizier["DEJ2000"] = sky.dec.to_string(sep=" ", precision=5, alwayssign=True)
        vizier.write(path, format="votable")
    elif form == "csv":
        plain(z="redshift").write(path, format="ascii.csv")
    elif form == "hms":
        sky = SkyCoord(RA, DEC, unit="deg")
        table = plain()
        table["ra"], table["dec"] = sky.ra.to_string("hour", precision=6), sky.dec.to_string(precision=5)
        table.write(path, format="ascii.csv")
    elif form == "parquet":
        plain(id="object_id").write(path, format="parquet")
    elif form == "pandas":
        values = {"id": [1, 2, 3], "ra": RA, "dec": DEC, "z_phot": [1.5, None, -99.0]}
        parquet.write_table(pyarrow.table(values), path)
    else:
        path.write_text({"sextractor": SEXTRACTOR, "3dhst": HST, "ipac": IPAC}[form])
    return path


@pytest.mark.parametrize(
    "form",
    [
        "fits",
        "parts",
        "ldac",
        "integers",
        "radians",
        "sky",
        "votable",
        "sexagesimal",
        "csv",
        "hms",
        "parquet",
        "pandas",
        "sextractor",
        "3dhst",
        "ipac",
    ],
)
def test_every_format_gives_the_same_objects(tmp_path: Path, form: str) -> None:
    found = Catalogue.read(str(write(tmp_path / "survey.cat", form)))
    assert found.ids.tolist() == ["1", "2", "3"]
    np.testing.assert_allclose(found.ra, RA, atol=1e-7)
    np.testing.assert_allclose(found.dec, DEC, atol=1e-7)
    np.testing.assert_array_equal(found.redshift, Z)
    assert not found.repeated.any()


def test_compressed_catalogues_are_read(tmp_path: Path) -> None:
    plain().write(tmp_path / "cat.fits.gz")
    assert len(Catalogue.read(str(tmp_path / "cat.fits.gz"))) == 3


def test_ids_keep_their_digits_and_repeated_ones_are_known(tmp_path: Path) -> None:
    path = tmp_path / "cat.csv"
    path.write_text(
        "id,ra,dec,z\n007,150.1,2.1,1.5\n7,150.1,2.1,1.5\n007,150.1,2.1,--\n,10:00:00,+02:30:00,\n"
    )
    found = Catalogue.read(str(path))
    assert found.ids.tolist() == ["007", "7", "007", ""]
    assert found.repeated.tolist() == [True, False, True, False]
    assert np.isnan(found.redshift[2:]).all()
    assert found.ra[3] == pytest.approx(150)
    assert found.dec[3] == 2.5
    large = 2**60 + 1
    Table({"id": [large], "ra": [1.0], "dec": [1.0], "z": [1.0]}).write(tmp_path / "cat.fits")
    assert Catalogue.read(str(tmp_path / "cat.fits")).ids.tolist() == [str(large)]


def test_positions_of_another_equinox_are_converted(tmp_path: Path) -> None:
    old = SkyCoord(RA, DEC, unit="deg").transform_to(FK4(equinox="B1950"))
    Table({"RAB1950": old.ra.deg, "DEB1950": old.dec.deg, "z": Z}).write(tmp_path / "cat.fits")
    found = Catalogue.read(str(tmp_path / "cat.fits"), {"ra": "RAB1950", "dec": "DEB1950"})
    np.testing.assert_allclose(found.ra, RA, atol=1e-5)
    assert found.ids.tolist() == ["0", "1", "2"]
    assert found.remarks == ("positions converted from FK4",)
    table = plain()
    table.meta["RADESYS"] = "FK5"
    table.write(tmp_path / "fk5.fits")
    assert Catalogue.read(str(tmp_path / "fk5.fits")).remarks == ("positions converted from FK5",)


def test_columns_that_are_named_count(tmp_path: Path) -> None:
    table = plain()
    table["zspec"], table["Name"], table["z_phot"] = [3.0, 3.0, 3.0], ["a", "b", "c"], [1.0, 1.0, 1.0]
    table.write(tmp_path / "cat.fits")
    found = Catalogue.read(str(tmp_path / "cat.fits"), {"z": "ZSPEC", "id": "Name"})
    assert found.redshift.tolist() == [3, 3, 3]
    assert found.ids.tolist() == ["a", "b", "c"]
    assert found.columns == {"id": "Name", "ra": "ra", "dec": "dec", "z": "zspec"}
    with pytest.raises(UserError, match=r"--columns z=zz: .* has no such column"):
        Catalogue.read(str(tmp_path / "cat.fits"), {"z": "zz"})


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (
            {"ra": RA, "dec": DEC, "z_phot": Z, "z_spec": Z},
            "several columns could be the redshift: z_phot, z_spec",
        ),
        ({"ra": RA, "dec": DEC, "mag": Z}, "no column is known to be the redshift"),
        ({"ra": RA, "dec": DEC, "r": Z, "i": Z, "z": Z}, "no column is known to be the redshift"),
        ({"x": RA, "y": DEC, "z": Z, "ra": RA, "dec": DEC}, "no column is known to be the redshift"),
        ({"alpha": RA, "delta": DEC, "z": Z}, "no column is known to be the right ascension"),
        ({"ra": ["north"] * 3, "dec": DEC, "z": Z}, "ra = 'north' is not an angle"),
        ({"ra": RA, "dec": DEC, "z": ["high"] * 3}, "z does not contain one number a row"),
    ],
)
def test_what_is_unclear_is_asked(tmp_path: Path, columns: dict[str, list[object]], reason: str) -> None:
    Table(columns).write(tmp_path / "cat.fits")
    with pytest.raises(UserError, match=reason) as caught:
        Catalogue.read(str(tmp_path / "cat.fits"))
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a table"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not a table that can be read"),
        (b"PAR1 and nothing else", "not a table"),
        (b"id,ra,dec,z\n", "has no rows"),
        (b"1 2 3\n4 5 6\n", "not a table|no column"),
        (b"<?xml version='1.0'?><html></html>", "not a table|contains no table"),
    ],
)
def test_what_is_no_catalogue_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "cat").write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        Catalogue.read(str(tmp_path / "cat"))
    assert str(caught.value).count("\n") == 1


def test_an_image_is_no_catalogue(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "image.fits")
    with pytest.raises(UserError, match="contains no table"):
        Catalogue.read(str(tmp_path / "image.fits"))


def test_tables_of_other_objects_are_not_joined(tmp_path: Path) -> None:
    parts = [fits.BinTableHDU(Table({"ID": numbers, "ra": [1.0, 2.0]})) for numbers in ([1, 2], [2, 1])]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path / "cat.fits")
    with pytest.raises(UserError, match="different objects"):
        Catalogue.read(str(tmp_path / "cat.fits"))


def test_redshifts_that_stand_for_unknown_ones_are_refused() -> None:
    assert redshift_problem(2.0) == ""
    assert redshift_problem(float("nan")) == "the redshift is missing"
    for number in (-99, 0, 99, np.inf):
        assert redshift_problem(number).startswith(f"redshift {number:g}, expected a positive number")
