# shellcheck shell=bash
# Set-up for scripts/demo and scripts/test: system packages, .venv, the package, the build. Each step is done once and
# done again only when what it depends on has changed; nothing needs the network the second time.

say() { printf '\033[1m%s\033[0m\n' "$*"; }
fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# missing_packages "COMMAND-or-file PACKAGE" ...: the packages of what is not there.
missing_packages() {
  local wanted what package
  for wanted in "$@"; do
    read -r what package <<<"$wanted"
    if ! command -v "$what" >/dev/null && [ ! -e "$what" ]; then echo "$package"; fi
  done
}

# without_services COMMAND...: packages that it installs start no services (invoke-rc.d(8)).
without_services() (
  policy=/usr/sbin/policy-rc.d
  kept=$policy.before-neat
  if [ -e "$policy" ] && [ ! -e "$kept" ]; then mv "$policy" "$kept"; fi
  trap 'rm -f "$policy"; if [ -e "$kept" ]; then mv "$kept" "$policy"; fi' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  "$@"
)

# As root only.
install_packages() {
  command -v apt-get >/dev/null || fail "please install what Debian calls: $*"
  say "Installing system packages: $*"
  export DEBIAN_FRONTEND=noninteractive
  without_services apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1 ||
    { apt-get update -qq && without_services apt-get install -qq -y --no-install-recommends "$@" >/dev/null; } ||
    fail "apt-get could not install: $*"
}

# system_packages "COMMAND-or-file PACKAGE" ...: install with apt-get the packages of what is not there.
system_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  if [ "$(id -u)" -ne 0 ]; then
    fail "these packages are missing and only root can install them: ${missing[*]}"
  fi
  install_packages "${missing[@]}"
}

# optional_packages "COMMAND-or-file PACKAGE" ...: likewise, but only root needs them.
optional_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    install_packages "${missing[@]}"
  else
    say "Not installed, so their tests are skipped: ${missing[*]}"
  fi
}

# A Python that is new enough and can make a .venv and compile against itself; prints its path.
find_python() {
  local candidate
  for candidate in "${NEAT_PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if [ -n "$candidate" ] && "$candidate" - 2>/dev/null <<'PYTHON'; then
import os, sys, sysconfig, ensurepip, venv
sys.exit(sys.version_info < (3, 11) or not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
PYTHON
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  return 1
}

# dependencies: everything that pyproject.toml asks for, to build, to run and to develop; one a line.
dependencies() {
  "$1" - <<'PYTHON'
import tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
print(*project["build-system"]["requires"], sep="\n")
print(*project["project"]["dependencies"], sep="\n")
print(*project["project"]["optional-dependencies"]["dev"], sep="\n")
PYTHON
}

# .venv with all dependencies and the package, editable.
make_venv() {
  local python stamp
  stamp=$(cat pyproject.toml <(pwd) | sha256sum | cut -d' ' -f1)
  if [ -x .venv/bin/python ] && [ "$(cat .venv/neat-setup 2>/dev/null)" = "$stamp" ]; then return; fi
  if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    python=$(find_python) || system_packages "neat-needs-it python3-venv" "neat-needs-it python3-dev"
    python=${python:-$(find_python)} || fail "Python 3.11 or newer is needed, with venv and its headers"
    say "Making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
  fi
  say "Installing the Python packages that pyproject.toml names"
  dependencies .venv/bin/python >.cache/requirements.txt
  .venv/bin/python -m pip install -q --disable-pip-version-check -r .cache/requirements.txt ||
    fail "pip could not install what pyproject.toml asks for"
  # NEAT_ONLY=-: no module now; the build comes next, on all cores. editable_mode=compat: a path, and not a module that
  # each Python runs when it starts.
  NEAT_ONLY=- .venv/bin/python -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps \
    --config-settings editable_mode=compat -e . ||
    fail "pip could not install this package"
  echo "$stamp" >.venv/neat-setup
}

# What the compiled modules are made from, as one hash. Not what the build makes of the headers in neat/abi.
sources_hash() {
  find neat drivers tools -type f \( -name '*.py' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.h' -o -path 'neat/shim/*.c' \) \
    ! -path 'neat/abi/*.pxd' ! -name table.h \
    -print0 | sort -z | xargs -0 sha256sum | cat - setup.py | sha256sum | cut -d' ' -f1
}

# Build what changed.
build() {
  local now
  now=$(sources_hash)
  if [ "$now" = "$(cat .cache/built 2>/dev/null)" ] && [ -e neat/shim/libneat.so ]; then return; fi
  say "Building (the first time takes some minutes)"
  if ! scripts/build >.cache/build.log 2>&1; then
    cat .cache/build.log >&2
    fail "the build failed"
  fi
  echo "$now" >.cache/built
}

# Build with warnings as errors. What some other build has made meanwhile is made again, so that nothing escapes.
build_strictly() {
  local module
  modules | sort >.cache/modules
  touch .cache/strict
  comm -23 .cache/modules .cache/strict | while read -r _ module; do
    rm -f "$module" "${module%%.*}.c"
  done
  rm -f .cache/built
  NEAT_WERROR=1 build
  modules | sort >.cache/strict
}

# The compiled modules with their hashes. (The library in neat/shim is always built with warnings as errors.)
modules() {
  find neat drivers tools -type f -name '*.so' ! -path 'neat/shim/*' -exec sha256sum {} +
}

# The modules that are not compiled.
plain_modules() {
  find -L neat -name '*.py'
}

# The steps that demo and test share; the arguments go to system_packages. Ends in the root of the repository.
set_up() {
  cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
  mkdir -p .cache
  exec 8>.cache/setup.lock
  flock 8
  system_packages "gcc gcc" "ip iproute2" "nsenter util-linux" "$@"
  make_venv
}

# Nobody else sets up from here on.
set_up_done() {
  exec 8>&-
}
