"""Build the Cython modules and the C library.

Each ``.pyx`` becomes one extension of its own; what is a ``.py`` is not compiled.
``NEAT_WERROR=1`` turns every C and Cython warning into an error, ``NEAT_ASAN=1`` builds the C library with
AddressSanitizer, ``NEAT_CFLAGS`` has flags that come last, ``NEAT_KEEP_GOING=1`` (for development) builds
what it can and reports the rest, ``NEAT_ONLY="neat.stack. neat.wire."`` builds only modules that start so.
"""

import os
import runpy
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from Cython.Compiler.Errors import CompileError
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
ABI = Path("neat/abi")
SHIM = Path("neat/shim")
# The contracts are included by their room ("abi/channel.h"), what is in the shim by its name.
INCLUDE_DIRS = ["neat", str(SHIM)]
CORE = "neat.socket._core"
SHIM_DEPENDS = sorted(str(p) for room in (ABI, SHIM) for p in room.rglob("*.[ch]"))
WERROR = os.environ.get("NEAT_WERROR") == "1"
KEEP_GOING = os.environ.get("NEAT_KEEP_GOING") == "1"
ASAN = os.environ.get("NEAT_ASAN") == "1"
MORE_C_FLAGS = os.environ.get("NEAT_CFLAGS", "").split()
ONLY = tuple(os.environ.get("NEAT_ONLY", "").split())

# -g1: functions and lines, for perf and backtraces. The rest of -g takes a quarter of the compiler's time.
C_FLAGS = ["-O2", "-g1", "-fno-strict-aliasing", "-Wall"]
# What Cython's own generated code is known to trip over.
CYTHON_C_FLAGS = [*C_FLAGS, "-Wno-unused-function"]
# Not on a packet's path, but run when a component starts, when somebody looks, or in tests: compiled quickly.
OFF_THE_PATH = {
    "neat.abi.layout",
    "neat.drivers.pysteer",
    "neat.replica.core",
    "neat.replica.counters",
    "neat.replica.settings",
    "neat.shm.board",
    "neat.shm.counters",
    "neat.shm.filter",
    "neat.shm.link",
    "neat.shm.pyring",
    "neat.shm.steering",
    "neat.shm.testing",
    "neat.socket._address",
    "neat.stack.counters",
    "neat.stack.lab",
    "neat.stack.tcp.state",
    "neat.wire.testing",
}
# AddressSanitizer calls setrlimit() while it sets itself up: what that runs through cannot be instrumented.
SHIM_PLAIN = {str(SHIM / "preload/limits.c"), str(SHIM / "real.c")}
SHIM_C_FLAGS = [*C_FLAGS, "-Wextra", "-fvisibility=hidden", "-D_GNU_SOURCE", "-std=gnu11"]
if WERROR:
    CYTHON_C_FLAGS.append("-Werror")
    Options.warning_errors = True

DIRECTIVES = {
    "language_level": "3",
    "annotation_typing": False,
    "infer_types": True,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "embedsignature": True,
}


def client_sources():
    """The client core's C files: compiled once, linked into the preload library and into ``CORE``."""
    return sorted(str(p) for p in SHIM.glob("*.c"))


def preload_sources():
    """Interposed calls: only ever in the preload library."""
    return sorted(str(p) for p in SHIM.glob("preload/*.c"))


def modules():
    """One Extension for each module that is compiled."""
    found = []
    headers = sorted(str(p) for p in ABI.glob("*.h"))
    for top in ("neat", "neat/drivers", "neat/tools"):
        for path in sorted(Path(top).rglob("*.pyx")):
            name = ".".join(path.with_suffix("").parts)
            if name in (e.name for e in found) or (ONLY and not name.startswith(ONLY)):
                continue
            optimisation = ["-O1"] if name in OFF_THE_PATH else []
            found.append(
                Extension(
                    name,
                    [str(path)],
                    include_dirs=INCLUDE_DIRS,
                    depends=headers + (SHIM_DEPENDS if name == CORE else []),
                    extra_compile_args=[*CYTHON_C_FLAGS, "-D_GNU_SOURCE", *optimisation, *MORE_C_FLAGS],
                    optional=KEEP_GOING,
                )
            )
    return found


class BuildWithShim(build_ext):
    """``build_ext`` that also makes ``neat/shim/libneat.so``, which is no Python module."""

    def run(self):
        self.in_checkout = bool(self.inplace)  # build_ext hides it while it builds
        self.shim = None
        super().run()
        if self.shim:  # there is none when no module was asked for
            self.link_shim(self.shim)

    def build_extensions(self):
        objects = self.shim = self.compile_shim("shim", [])
        if ASAN:
            self.shim = self.compile_shim("asan", ["-fsanitize=address", "-fno-omit-frame-pointer"])
        for extension in self.extensions:
            if extension.name == CORE:
                extension.extra_objects = objects[: len(client_sources())]
        super().build_extensions()

    def compile_shim(self, folder, sanitize):
        """The objects, in the order of the sources; made anew when any is older than what they depend on."""
        sources = client_sources() + preload_sources()
        output = str(Path(self.build_temp) / folder)
        objects = self.compiler.object_filenames(sources, output_dir=output)
        oldest = min((Path(o).stat().st_mtime if Path(o).exists() else 0 for o in objects), default=0)
        if not self.force and oldest > max(Path(p).stat().st_mtime for p in SHIM_DEPENDS):
            return objects
        # In a checkout always; the compiler of somebody who installs us may know more warnings than ours.
        strict = ["-Werror"] if WERROR or self.in_checkout else []
        for some, flags in (
            ([s for s in sources if s not in SHIM_PLAIN], sanitize),
            ([s for s in sources if s in SHIM_PLAIN], []),
        ):
            self.compiler.compile(
                some,
                output_dir=output,
                include_dirs=INCLUDE_DIRS,
                extra_postargs=[*SHIM_C_FLAGS, *strict, *flags, "-fPIC", *MORE_C_FLAGS],
            )
        return objects

    def link_shim(self, objects):
        target = (SHIM if self.in_checkout else Path(self.build_lib) / SHIM) / "libneat.so"
        newest = max(Path(o).stat().st_mtime for o in objects)
        if target.exists() and target.stat().st_mtime > newest and not self.force:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name("libneat.so.new")
        self.compiler.link_shared_object(
            objects,
            str(fresh),
            libraries=["pthread", "dl"],
            extra_postargs=[*(["-fsanitize=address"] if ASAN else []), "-Wl,-soname,libneat.so"],
        )
        fresh.replace(target)  # whole, at once: programs may be starting with it

    def get_outputs(self):
        outputs = super().get_outputs()
        if not self.in_checkout:
            outputs.append(str(Path(self.build_lib) / SHIM / "libneat.so"))
        return outputs


def translate(extensions):
    """The extensions with their Cython sources translated to C; with KEEP_GOING those that could be."""
    options = {
        "compiler_directives": DIRECTIVES,
        "quiet": True,
        "include_path": [str(ROOT)],
        "annotate": os.environ.get("NEAT_ANNOTATE") == "1",
    }
    if not KEEP_GOING:
        return cythonize(extensions, nthreads=os.cpu_count() or 1, **options)
    done = []
    for extension in extensions:
        try:
            done += cythonize([extension], **options)
        except CompileError:
            print(f"{extension.name}: does not compile, left out")
    return done


runpy.run_path(str(ABI / "declare.py"))["declare"]()  # before anybody cimports it
setup(ext_modules=translate(modules()), cmdclass={"build_ext": BuildWithShim})
