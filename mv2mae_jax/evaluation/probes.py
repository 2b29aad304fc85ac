"""What simple classifiers can read off fixed features."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from einops import reduce
from jaxtyping import Float, Int, UInt8
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mv2mae_jax.model.grid import PatchSize
from mv2mae_jax.objective import frame_difference

PENALTIES = np.logspace(0, 8, 17)  # of the ridge classifier
INVERSE_PENALTY = 0.1  # C of the logistic regression
NEIGHBOURS = 20
FEATURES_AT_ONCE = 8192


class TokenFeatures(NamedTuple):
    """Features of all tubelets of labelled videos."""

    tokens: Float[np.ndarray, "V N D"]
    labels: Int[np.ndarray, " V"]


def probe_predictions(
    train: TokenFeatures, test: Float[np.ndarray, "W N D"]
) -> dict[str, Int[np.ndarray, " W"]]:
    """What three classifiers that are fitted to the training videos say about others.

    `tokens`, a ridge classifier on all of them side by side (the token probe); `logistic`
    regression on their mean and standard deviation; `knn`, nearest neighbours by their mean.
    """
    tokens, labels = train.tokens, train.labels
    flat, pooled = ([f(x) for x in (tokens, test)] for f in (_side_by_side, _mean_and_std))
    means = [x[:, : x.shape[1] // 2] for x in pooled]
    return {
        "tokens": ridge_predictions(flat[0], labels, flat[1]),
        "logistic": logistic_predictions(pooled[0], labels, pooled[1]),
        "knn": neighbour_predictions(means[0], labels, means[1]),
    }


def ridge_predictions(
    train: Float[np.ndarray, "V F"],
    labels: Int[np.ndarray, " V"],
    test: Float[np.ndarray, "W F"],
) -> Int[np.ndarray, " W"]:
    """Of a ridge classifier on standardised features.

    The penalty is chosen by leave-one-out on the training videos; the test videos take no part.
    """
    train, test = span_coordinates(train, test)
    return RidgeClassifierCV(PENALTIES).fit(train, labels).predict(test)


def logistic_predictions(
    train: Float[np.ndarray, "V F"],
    labels: Int[np.ndarray, " V"],
    test: Float[np.ndarray, "W F"],
) -> Int[np.ndarray, " W"]:
    """Of a logistic regression on standardised features."""
    classifier = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
    return make_pipeline(StandardScaler(), classifier).fit(train, labels).predict(test)


def neighbour_predictions(
    train: Float[np.ndarray, "V F"],
    labels: Int[np.ndarray, " V"],
    test: Float[np.ndarray, "W F"],
) -> Int[np.ndarray, " W"]:
    """Of the nearest neighbours' vote, by the cosine of standardised features.

    As many neighbours as there are training videos of a class, at most `NEIGHBOURS`.
    """
    neighbours = min(NEIGHBOURS, len(labels) // len(np.unique(labels)))
    classifier = KNeighborsClassifier(neighbours, weights="distance", metric="cosine")
    return make_pipeline(StandardScaler(), classifier).fit(train, labels).predict(test)


def span_coordinates(
    train: Float[np.ndarray, "V F"], test: Float[np.ndarray, "W F"]
) -> tuple[Float[np.ndarray, "V R"], Float[np.ndarray, "W R"]]:
    """Standardised features in an orthonormal basis of what the training videos span.

    There are R < V coordinates instead of F, and all inner products with training videos are the
    same: a ridge classifier, whose weights lie in that span, decides the same. Made from the Gram
    matrix, a part of the features at a time, so that wide features are never copied as a whole.
    """
    count = len(train)
    gram = np.zeros((count + len(test), count))
    for start in range(0, train.shape[1], FEATURES_AT_ONCE):
        part = slice(start, start + FEATURES_AT_ONCE)
        scaler = StandardScaler().fit(train[:, part])
        fitted = scaler.transform(train[:, part])
        gram[:count] += fitted @ fitted.T
        gram[count:] += scaler.transform(test[:, part]) @ fitted.T
    squares, vectors = scipy.linalg.eigh(gram[:count])
    spanned = squares > squares[-1] * np.finfo(np.float32).eps
    if not spanned.any():  # nothing differs between training videos
        return np.zeros((count, 1)), np.zeros((len(test), 1))
    coordinates = gram @ (vectors[:, spanned] / np.sqrt(squares[spanned]))
    return coordinates[:count], coordinates[count:]


def _side_by_side(tokens: Float[np.ndarray, "V N D"]) -> Float[np.ndarray, "V ND"]:
    return tokens.reshape(len(tokens), -1)


def _mean_and_std(tokens: Float[np.ndarray, "V N D"]) -> Float[np.ndarray, "V 2*D"]:
    return np.stack([np.concatenate([x.mean(axis=0), x.std(axis=0)]) for x in tokens])


def sparse_pixels(clips: UInt8[np.ndarray, "B T H W C"]) -> UInt8[np.ndarray, "B T h w C"]:
    """Every second row and column: what a linear classifier on pixels is given."""
    return clips[:, :, ::2, ::2].copy()  # a view would keep the whole clips alive


def motion_map(
    clips: UInt8[np.ndarray, "B T H W C"], patch_size: PatchSize
) -> Float[np.ndarray, "B t hw"]:
    """Mean absolute frame difference in every tubelet: where and when something moves, no more."""
    difference = np.abs(np.asarray(frame_difference(jnp.asarray(clips, jnp.float32))))
    p0, p1, p2 = patch_size
    cut = "b (t p0) (h p1) (w p2) c -> b t (h w)"
    return reduce(difference, cut, "mean", p0=p0, p1=p1, p2=p2)
