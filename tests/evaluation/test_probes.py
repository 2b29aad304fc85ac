"""The motion map by hand; probes find what they can read and nothing in noise."""

import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from mv2mae_jax.evaluation.probes import (
    PENALTIES,
    TokenFeatures,
    motion_map,
    neighbour_predictions,
    probe_predictions,
    ridge_predictions,
    span_coordinates,
)


def test_motion_map_by_hand():
    clip = np.zeros((1, 4, 4, 4, 3), np.uint8)
    clip[0, 1, 0, 0] = 8  # one pixel of the first tubelet flashes in frame 1, all three channels
    clip[0, 3, 3, 3] = 6  # one pixel of the last place appears in the last frame
    values = motion_map(clip, (2, 2, 2)).reshape(2, 2, 2)
    # Per tubelet 2 frames x 4 pixels. The difference 0 -> 1 also stands for frame 0.
    assert values[0, 0, 0] == (8 + 8) / 8
    assert values[1, 0, 0] == 8 / 8  # back from 8 in frame 2: no wrap-around of bytes
    assert values[1, 1, 1] == 6 / 8
    assert values.sum() == 2 + 1 + 0.75


def test_ridge_predictions():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    noise = rng.standard_normal((200, 50))
    signal = noise + 3 * np.eye(50)[labels]
    found, chance = (
        np.mean(ridge_predictions(x[:100], labels[:100], x[100:]) == labels[100:])
        for x in (signal, noise)
    )
    assert found > 0.9
    assert chance < 0.55


# Fewer features than videos, more, and several parts of them; the signal in some of them.
@pytest.mark.parametrize(("features", "signal"), [(40, 0.5), (3000, 4), (20000, 4)])
def test_reduced_features_decide_as_the_whole_ones(features: int, signal: float):
    """Against sklearn on all features in double precision: penalty, decisions, accuracy."""
    rng = np.random.default_rng(features)
    labels = rng.integers(0, 5, 180)
    x = rng.standard_normal((180, features)) * rng.exponential(5, features)
    x[:, :30] += signal * rng.standard_normal((5, 30))[labels] * x[:, :30].std(axis=0)
    x[:, -3] = 7  # never changes
    x = x.astype(np.float32)
    (train, test), (fitted, scored) = (x[:120], x[120:]), (labels[:120], labels[120:])
    scaler = StandardScaler().fit(train.astype(np.float64))
    whole = RidgeClassifierCV(PENALTIES).fit(scaler.transform(train), fitted)
    reduced = span_coordinates(train, test)
    assert reduced[0].shape[1] == reduced[1].shape[1] <= min(119, features - 1)
    probe = RidgeClassifierCV(PENALTIES).fit(reduced[0], fitted)
    assert probe.alpha_ == whole.alpha_
    decisions = whole.decision_function(scaler.transform(test))
    np.testing.assert_allclose(probe.decision_function(reduced[1]), decisions, atol=1e-4)
    accuracy = whole.score(scaler.transform(test), scored)
    assert 0.3 < accuracy < 1
    predicted = ridge_predictions(train, fitted, test)
    np.testing.assert_array_equal(predicted, whole.predict(scaler.transform(test)))


def test_features_without_any_difference_are_guessed_from():
    labels = np.array([0, 1, 1])
    found = ridge_predictions(np.full((3, 5), 7.0), labels, np.zeros((2, 5)))
    assert found.tolist() == [1, 1]  # the most frequent class


def test_wide_features_are_not_copied():
    rng = np.random.default_rng(0)
    wide = [rng.standard_normal((n, 500_000), dtype=np.float32) for n in (24, 12)]
    labels = np.arange(24) % 3
    tracemalloc.start()
    ridge_predictions(wide[0], labels, wide[1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.3 * sum(x.nbytes for x in wide)


def test_each_probe_reads_what_it_is_for():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3

    def accuracies(tokens: np.ndarray) -> dict[str, float]:
        predicted = probe_predictions(TokenFeatures(tokens[:60], labels[:60]), tokens[60:])
        return {name: np.mean(x == labels[60:]) for name, x in predicted.items()}

    noise = rng.standard_normal((120, 16, 20)).astype(np.float32)
    assert all(value < 0.6 for value in accuracies(noise).values())
    everywhere = noise + 2 * np.eye(20, dtype=np.float32)[labels][:, None]
    assert all(value > 0.95 for value in accuracies(everywhere).values())
    spread = noise * np.where(np.arange(3) == labels[:, None], 3, 1)[:, None].repeat(7, axis=2)[
        ..., :20
    ].astype(np.float32)
    found = accuracies(spread)  # no linear map of tokens sees it
    assert found["logistic"] > 0.95
    assert found["tokens"] < 0.7
    place = noise.copy()
    place[np.arange(120), labels] += 10
    place -= place.mean(axis=1, keepdims=True)
    assert accuracies(place)["tokens"] > 0.95  # where something is: gone from the mean
    assert accuracies(place)["knn"] < 0.7


def test_nearest_neighbours_by_hand():
    """Directions count, and near ones the most: one at 5 degrees outvotes those at 15, 75, 85."""
    angles = np.radians([10, 350, 80, 280, 100, 170, 190, 260])  # symmetric: only scaled alike
    train = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.array([0, 1, 1, 1, 0, 0, 0, 1])  # four of each: four neighbours vote
    test = 100 * np.array([[np.cos(np.radians(5)), np.sin(np.radians(5))]])
    assert neighbour_predictions(train, labels, test) == [0]
    assert neighbour_predictions(train, 1 - labels, test) == [1]
