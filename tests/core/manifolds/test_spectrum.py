"""Eigenfunctions of meshes against those of the sphere and the square."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flowatlas.errors import ConfigError, GeometryError
from flowatlas.manifolds import Mesh
from flowatlas.manifolds.spectrum import laplacian


def test_eigenvalues_of_the_sphere_converge_at_second_order() -> None:
    exact = torch.tensor([2.0] * 3 + [6.0] * 5 + [12.0] * 7).double()
    errors = [(Mesh.icosphere(n).spectrum(15).eigenvalues / exact - 1).abs() for n in (2, 3)]
    assert errors[1].max() < 0.03
    ratio = errors[0] / errors[1]
    assert (ratio > 3.5).all()
    assert (ratio < 4.5).all()


def test_eigenvalues_of_the_square_are_those_of_neumann() -> None:
    exact = sorted(m * m + n * n for m in range(5) for n in range(5))[1:9]
    found = Mesh.square(24).spectrum(8).eigenvalues / math.pi**2
    np.testing.assert_allclose(found, exact, rtol=0.02)


def test_functions_of_the_square_are_cosines() -> None:
    mesh = Mesh.square(24)
    x = mesh.vertices
    function = mesh.spectrum(3).functions[:, 2]
    exact = 2 * torch.cos(math.pi * x[:, 0]) * torch.cos(math.pi * x[:, 1])
    sign = torch.sign(function @ exact)
    torch.testing.assert_close(sign * function, exact, atol=0.02, rtol=0)


@pytest.mark.parametrize("mesh", [Mesh.icosphere(1), Mesh.icosphere(3), Mesh.square(6)])
def test_functions_are_orthonormal_and_orthogonal_to_constants(mesh: Mesh) -> None:
    """By the rule of edge middles, which is exact for products of linear functions."""
    functions = mesh.spectrum(30).functions
    functions = torch.cat([torch.full_like(functions[:, :1], mesh.area**-0.5), functions], 1)
    corner = functions[mesh.faces]
    middle = (corner + corner.roll(1, 1)) / 2
    area = mesh.tables(functions).areas
    gram = torch.einsum("f,fki,fkj->ij", area / 3, middle, middle)
    torch.testing.assert_close(gram, torch.eye(31).double(), atol=1e-8, rtol=0)


def test_the_stiffness_has_the_cotangents() -> None:
    mesh = Mesh.icosphere(1)
    stiffness = laplacian(mesh._first)[0].toarray()
    expected = np.zeros_like(stiffness)
    x = mesh.vertices.numpy()
    for face in mesh.faces.numpy():
        for k in range(3):
            i, j, o = face[(k + 1) % 3], face[(k + 2) % 3], face[k]
            a, b = x[i] - x[o], x[j] - x[o]
            half = a @ b / np.linalg.norm(np.cross(a, b)) / 2
            for row, column, sign in ((i, j, -1), (j, i, -1), (i, i, 1), (j, j, 1)):
                expected[row, column] += sign * half
    np.testing.assert_allclose(stiffness, expected, atol=1e-12)


def test_what_has_no_such_spectrum_is_refused() -> None:
    mesh = Mesh.icosphere(0)
    with pytest.raises(ConfigError, match="12 vertices has 11"):
        mesh.spectrum(12)
    with pytest.raises(ConfigError, match="count"):
        mesh.spectrum(0)
    two = Mesh(
        torch.cat([mesh.vertices, mesh.vertices + 5]), torch.cat([mesh.faces, mesh.faces + 12])
    )
    with pytest.raises(GeometryError, match="2 pieces"):
        two.spectrum(3)
