"""No name of libc reaches a socket past the preload library."""

import shutil

import pytest

from tests.posix import symbols

pytestmark = pytest.mark.skipif(
    not symbols.LIBC.exists() or not shutil.which("nm"), reason="needs glibc at its place, and nm"
)


def reaching() -> dict[str, str]:
    """Public names of libc that are one of the calls, and which."""
    names = symbols.exported(symbols.LIBC)
    return {
        name: call
        for name, version in names.items()
        if version != "GLIBC_PRIVATE" and (call := symbols.base(name))
    }


def test_every_name_is_interposed_or_left_for_a_reason() -> None:
    taken = symbols.interposed()
    missing = {name for name, call in reaching().items() if name not in taken and call not in symbols.LEFT}
    assert not missing, f"these slip past libneat.so: {', '.join(sorted(missing))}"


def test_what_is_left_to_libc_is_not_interposed() -> None:
    """A call is served under all its names or under none."""
    taken = {name for name in symbols.interposed() if symbols.base(name) in symbols.LEFT}
    assert not taken, f"interposed, but listed as left to libc: {', '.join(sorted(taken))}"


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("__read_chk", "read"),
        ("fcntl64", "fcntl"),
        ("epoll_pwait2", "epoll_pwait"),
        ("accept4", "accept"),
        ("preadv64v2", "preadv64v2"),
        ("readlink", None),
        ("sendfile64", "sendfile"),
        ("__poll_chk", "poll"),
        ("posix_spawnattr_init", None),
    ],
)
def test_variants_of_a_call_are_found(name: str, call: str | None) -> None:
    assert symbols.base(name) == call
