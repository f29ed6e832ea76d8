"""What is far from every picture has found nothing."""

from __future__ import annotations

import numpy as np
import pytest

from memewatchd.search.calibration import LEAST_PICTURES, REFUSED, Calibration, unfitting


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def test_a_query_near_one_picture_fits_and_a_query_near_none_does_not() -> None:
    random = np.random.default_rng(1)
    pictures = unit(random.normal(size=(400, 64)))
    strangers = unit(random.normal(size=(200, 64)))
    calibration = Calibration.measure(pictures, strangers, (strangers @ pictures.T).max(1).tolist())
    assert calibration is not None
    others = unit(random.normal(size=(200, 64)))
    refused = [not calibration.fits(query, float((pictures @ query).max())) for query in others]
    assert np.mean(refused) == pytest.approx(REFUSED, abs=0.07)
    fitting = unit(pictures + 0.8 * unit(random.normal(size=pictures.shape)))
    assert all(calibration.fits(query, float((pictures @ query).max())) for query in fitting)


def test_a_folder_of_one_kind_is_found_by_its_kind() -> None:
    random = np.random.default_rng(3)
    kind = unit(random.normal(size=64))
    cats = unit(kind + 0.05 * random.normal(size=(300, 64)))
    strangers = unit(random.normal(size=(80, 64)))
    calibration = Calibration.measure(cats, strangers, (strangers @ cats.T).max(1).tolist())
    assert calibration is not None
    query = unit(kind + 0.1 * random.normal(size=64))
    best = float((cats @ query).max())
    assert calibration.fits(query, best)


def test_few_pictures_tell_nothing() -> None:
    few = unit(np.random.default_rng(2).normal(size=(LEAST_PICTURES - 1, 8)))
    assert Calibration.measure(few, few, [0.0] * len(few)) is None


def test_pictures_that_are_all_the_same() -> None:
    same = np.tile(unit(np.ones(8)), (LEAST_PICTURES, 1))
    calibration = Calibration.measure(same, same[:2], [1.0, 1.0])
    assert calibration is not None
    assert np.isfinite(calibration.margin(same[0], 1.0))


def test_the_queries_are_of_both_languages_and_each_there_once() -> None:
    texts = unfitting()
    chinese = [text for text in texts if not text.isascii()]
    assert len(set(texts)) == len(texts) >= 60
    assert abs(2 * len(chinese) - len(texts)) <= 2
