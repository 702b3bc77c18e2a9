"""Lines that crosstool-NG dropped are found, and recipes that a shell must not see are refused."""

from __future__ import annotations

import pytest

from manycc.errors import ConfigError
from manycc.toolchain.crosstool.check import MAX_RECIPE, dropped, recipe_values, values_of

RECIPE = """\
# manycc recipe 1
# for: a person

CT_EXPERIMENTAL=y
# CT_LOG_PROGRESS_BAR is not set
CT_GLIBC_V_2_36=y
CT_PARALLEL_JOBS=2
CT_CC_GCC_LTO_ZSTD=m
CT_TOOLCHAIN_PKGVERSION="Debian 12.2.0-14+deb12u1"
CT_CC_GCC_EXTRA_CONFIG_ARRAY="--enable-cet --with-tune=generic"
CT_PREFIX_DIR="${CT_TOP_DIR}/x-tools"
"""
TAKEN = RECIPE.replace("# for: a person\n", "CT_MORE=y\n") + 'CT_VERSION="x"\n'


def wanted(text: str = RECIPE) -> dict[str, str | None]:
    return recipe_values(text, "recipe")


def test_all_taken() -> None:
    assert dropped(wanted(), values_of(TAKEN)) == []
    assert len(wanted()) == 8


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("CT_GLIBC_V_2_36=y", "CT_GLIBC_V_2_28=y", "CT_GLIBC_V_2_36=y became CT_GLIBC_V_2_28=y"),
        ("CT_GLIBC_V_2_36=y", "# CT_GLIBC_V_2_36 is not set", "CT_GLIBC_V_2_36=y became CT_GLIBC_V_2_36 is not set"),
        ("CT_EXPERIMENTAL=y\n", "", "CT_EXPERIMENTAL=y became CT_EXPERIMENTAL is not set"),
        ("# CT_LOG_PROGRESS_BAR is not set", "CT_LOG_PROGRESS_BAR=y",
         "CT_LOG_PROGRESS_BAR is not set became CT_LOG_PROGRESS_BAR=y"),
        ('"Debian 12.2.0-14+deb12u1"', '""',
         'CT_TOOLCHAIN_PKGVERSION="Debian 12.2.0-14+deb12u1" became CT_TOOLCHAIN_PKGVERSION=""'),
        ("CT_PARALLEL_JOBS=2", "CT_PARALLEL_JOBS=0", "CT_PARALLEL_JOBS=2 became CT_PARALLEL_JOBS=0"),
    ],
)  # fmt: skip
def test_a_line_that_was_dropped(before: str, after: str, sentence: str) -> None:
    lost = dropped(wanted(), values_of(TAKEN.replace(before, after)))
    assert [str(one) for one in lost] == [sentence]


def test_unset_is_taken_where_the_symbol_is_not_there_at_all() -> None:
    text = TAKEN.replace("# CT_LOG_PROGRESS_BAR is not set\n", "")
    assert dropped(wanted(), values_of(text)) == []
    assert dropped(wanted(RECIPE + "CT_OTHER=n\n"), values_of(TAKEN)) == []


@pytest.mark.parametrize(
    "line",
    [
        'CT_X="$(touch /tmp/x)"', 'CT_X="`id`"', 'CT_X="$HOME"', 'CT_X="${PATH}"', 'CT_X="a" ; id', "CT_X=y; id",
        "id", 'CT_X="a\\" b"', "CT_X=$(id)", " CT_X=y", "export CT_X=y", 'X="a"', 'CT_X_ARRAY="--a; id"',
        'CT_X_ARRAY="--a *"', 'CT_X_ARRAY="--a ${CT_B}"', 'CT_X_ARRAY="(--a)"', "CT_X='a'", 'CT_X="a" "b"',
        'CT_X="${CT_A:-$(id)}"', 'CT_GCC_DEVEL_BOOTSTRAP="id"', 'CT_CONFIG_SHELL="/tmp/sh"',
    ],
)  # fmt: skip
def test_a_shell_never_sees_more_than_values(line: str) -> None:
    with pytest.raises(ConfigError, match="line 12"):
        wanted(RECIPE + line + "\n")


@pytest.mark.parametrize("text", ["", "# nothing\n", "CT_A=y\n" * (MAX_RECIPE // 7 + 1)])
def test_what_is_no_recipe(text: str) -> None:
    with pytest.raises(ConfigError):
        wanted(text)
