from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.pruning.atoms import Atoms, Labels, fixed, join, merge


def rows(atoms: Atoms, labels: Labels) -> list[set[int]]:
    """The free atoms of every index."""
    return [set(row.tolist()) - {0} for row in atoms.resolve(labels)]


def test_tied_axes_have_the_same_atoms() -> None:
    atoms = Atoms()
    one, other, third = atoms.fresh(3), atoms.fresh(3), atoms.fresh(3)
    atoms.unify(one, other)
    atoms.unify(other, third[::-1])
    assert rows(atoms, one) == rows(atoms, third)[::-1]
    assert len(set.union(*rows(atoms, one))) == 3


def test_an_axis_of_one_index_stays() -> None:
    assert Atoms().fresh(1).shape == (1, 0)


def test_fixing_one_axis_fixes_what_is_tied_to_it() -> None:
    atoms = Atoms()
    one, other = atoms.fresh(4), atoms.fresh(4)
    atoms.unify(one, other)
    atoms.fix(one[:2])
    assert [len(row) for row in rows(atoms, other)] == [0, 0, 1, 1]


def test_a_grid_loses_rows_or_columns() -> None:
    atoms = Atoms()
    axis = atoms.fresh(6)
    heads, dimensions = atoms.split(axis, [2, 3])
    assert rows(atoms, axis) == rows(atoms, merge([heads, dimensions]))
    assert len(set.union(*rows(atoms, axis))) == 5


def test_a_grid_within_a_grid() -> None:
    atoms = Atoms()
    axis = atoms.fresh(24)
    whole = atoms.split(axis, [2, 3, 4])
    again = atoms.split(axis, [6, 4])
    assert rows(atoms, again[1]) == rows(atoms, whole[2])
    assert rows(atoms, again[0]) == rows(atoms, merge(whole[:2]))
    assert len(set.union(*rows(atoms, axis))) == 9


def test_the_batch_does_not_tie_what_it_repeats() -> None:
    """[batch, heads · width] to [batch · heads, width] and back to four axes."""
    atoms = Atoms()
    axis = atoms.fresh(12)
    rows_of_batch, width = atoms.split(merge([fixed(2), axis]), [6, 4])
    batch, heads = atoms.split(rows_of_batch, [2, 3])
    assert rows(atoms, batch) == [set(), set()]
    assert len(set.union(*rows(atoms, heads))) == 3
    assert len(set.union(*rows(atoms, width))) == 4


def test_grids_of_another_form_stay_sound() -> None:
    atoms = Atoms()
    one = merge([atoms.fresh(3), atoms.fresh(4)])
    other = merge([atoms.fresh(2), atoms.fresh(6)])
    atoms.unify(one, other)
    assert rows(atoms, one) == rows(atoms, other)


def test_an_atom_that_would_be_a_part_of_itself_stays() -> None:
    atoms = Atoms()
    one, other = atoms.fresh(2), atoms.fresh(2)
    atoms.unify(one, np.concatenate([one[::-1], other], axis=1))
    assert rows(atoms, one) == rows(atoms, np.concatenate([one[::-1], other], axis=1))


def test_joined_axes_of_different_form() -> None:
    atoms = Atoms()
    plain, grid = atoms.fresh(4), merge([atoms.fresh(2), atoms.fresh(2)])
    target = atoms.fresh(8)
    atoms.unify(target, join([plain, grid]))
    assert rows(atoms, target) == rows(atoms, plain) + rows(atoms, grid)


SIZE = 12


@settings(max_examples=150)
@given(st.data())
def test_every_statement_holds_whatever_is_removed(data: st.DataObject) -> None:
    """Equations and grids in any order: what vanishes on one side vanishes on the other."""
    atoms = Atoms()
    axes = [atoms.fresh(SIZE) for _ in range(4)]
    pairs: list[tuple[Labels, Labels]] = []

    def pick() -> Labels:
        return data.draw(st.sampled_from(axes))

    def unify() -> None:
        one, other = pick(), pick()
        atoms.unify(one, other)
        pairs.append((one, other))

    def split() -> None:
        axis, outer = pick(), data.draw(st.sampled_from([2, 3, 4, 6]))
        grid = atoms.split(axis, [outer, SIZE // outer])
        pairs.append((axis, merge(grid)))
        if data.draw(st.booleans()):
            axes.append(merge(grid[::-1]))

    def cut() -> None:
        at = data.draw(st.integers(1, SIZE - 1))
        axes.append(join([pick()[at:], pick()[:at]]))

    def hold() -> None:
        part = pick()[: data.draw(st.integers(1, 2))]
        atoms.fix(part)
        pairs.append((part, fixed(len(part))))

    steps: list[Callable[[], None]] = [unify, split, cut, hold]
    for _ in range(data.draw(st.integers(1, 10))):
        data.draw(st.sampled_from(steps))()
    generator = np.random.default_rng(data.draw(st.integers(0, 9)))
    for _ in range(4):
        removed = generator.random(len(atoms)) < 0.2
        removed[0] = False
        for one, other in pairs:
            left, right = (removed[atoms.resolve(labels)].any(axis=1) for labels in (one, other))
            assert left.tolist() == right.tolist()
