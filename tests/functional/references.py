"""Slow and plain versions of what the package computes, by other means."""

import itertools

import numpy as np
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist


def exact_distances(x, metric="euclidean"):
    x = np.asarray(torch.as_tensor(x).double()).reshape(len(x), -1)
    return cdist(x, x, metric)


def tree_edges(distances):
    """Edges of the minimum spanning tree; refuses distances whose ties leave a choice."""
    u, v = np.triu_indices(len(distances), 1)
    trees = []
    for tie_break in (np.arange(len(u)), -np.arange(len(u))):
        rank = np.zeros(distances.shape)  # SciPy takes distances below 1e-8 for "no edge"
        order = np.lexsort((tie_break, distances[u, v]))
        rank[u[order], v[order]] = np.arange(1, len(u) + 1)
        trees.append(np.argwhere(minimum_spanning_tree(rank).toarray()))
    assert np.array_equal(*trees), "the tree is not unique"
    return trees[0]


def cross_edges(x, y, metric="euclidean"):
    """R of every pair of classes: SciPy on float64 distances."""
    distances, y = exact_distances(x, metric), np.asarray(y)
    labels = np.unique(y)
    out = np.zeros((len(labels), len(labels)))
    for i, j in itertools.combinations(range(len(labels)), 2):
        of_pair = np.flatnonzero((y == labels[i]) | (y == labels[j]))
        ends = y[of_pair][tree_edges(distances[np.ix_(of_pair, of_pair)])]
        out[i, j] = out[j, i] = (ends[:, 0] != ends[:, 1]).sum()
    return out


class NoFurtherTreeError(Exception):
    pass


def greedy_trees(distances, k):
    """Edge-disjoint trees by Kruskal's algorithm: the shortest, then the shortest of what is left, ..."""
    left = sorted(itertools.combinations(range(len(distances)), 2), key=lambda e: distances[e])
    trees = []
    for _ in range(k):
        component = list(range(len(distances)))
        tree = []
        for u, v in left:
            if component[u] != component[v]:
                tree.append((u, v))
                component = [component[u] if c == component[v] else c for c in component]
        if len(tree) < len(distances) - 1:
            raise NoFurtherTreeError
        trees.append(tree)
        left = [e for e in left if e not in set(tree)]
    return trees


def all_labelings(counts):
    """Every different way to hand out labels 0 .. K - 1, label k to counts[k] samples."""
    samples = range(sum(counts))
    if len(counts) == 1:
        yield np.zeros(counts[0], dtype=int)
        return
    for chosen in itertools.combinations(samples, counts[0]):
        for rest in all_labelings(counts[1:]):
            labels = np.zeros(len(samples), dtype=int)
            labels[[s for s in samples if s not in chosen]] = rest + 1
            yield labels


def weight_between(weights, labels):
    """Total weight of a symmetric matrix between samples of different labels."""
    return (weights * (labels[:, None] != labels[None])).sum() / 2


def clusters(num_classes, per_class, dim, *, shift=1.0, seed=0, dtype=torch.float32):
    """Gaussian classes in random order, with labels that are neither consecutive nor sorted."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [per_class] * num_classes if isinstance(per_class, int) else per_class
    y = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])
    y = y[torch.randperm(len(y), generator=generator)]
    centres = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64) * shift
    x = torch.randn(len(y), dim, generator=generator, dtype=torch.float64) + centres[y]
    return x.to(dtype), y
