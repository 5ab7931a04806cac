#!/usr/bin/env bash
# Makes .venv ready for this repository, or does nothing if it is; `make env` calls it.
#
#   STACK=original      the set of requirements/original.txt, in .venv-original (forks, in .venv)
#   PYTHON=python3.12   the Python to make .venv with (python3)
#   FORCE_CUDA=1        compile mmcv's CUDA operators even if no usable GPU is found
#   MAX_JOBS=4          compiler jobs at a time (as many as cores and memory allow)
#
# To set up again, for instance after adding a GPU: rm .venv/ready
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONPATH PYTHONHOME
export PIP_USER=0

PYTHON=${PYTHON:-python3}
STACK=${STACK:-forks}
pins=requirements/$STACK.txt
venv=.venv
[[ $STACK == forks ]] || venv+=-$STACK
venv_python=$venv/bin/python
log=$venv/setup.log
scratch=$venv/build
running=

say() { printf '%s\n' "$*"; }

die() {
  say "set-up failed: $*" >&2
  exit 1
}

# What the environment was made from and where: a change of it means setting up again.
fingerprint() { { pwd -P; cat "$pins" setup.py mixskd_mm/compat.py tools/setup_env.sh; } | cksum; }

is_ready() { [[ -x $venv_python && -f $venv/ready && $(< "$venv/ready") == "$(fingerprint)" ]]; }

pin() { sed -n "s/^$1==//p" "$pins"; }

# The distribution of mmcv in this set: onedl-mmcv or mmcv.
mmcv() { sed -nE 's/^(([a-z]+-)?mmcv)==.*/\1/p' "$pins"; }

# The versions of Python that this set works with, such as "3.11 3.12".
pythons() { sed -n 's/^# Python: //p' "$pins"; }

duration() { printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); }

# The latest thing pip or the compiler reported, for the progress lines.
latest() {
  tail -n 100 "$log" | tr '\r' '\n' |
    sed -nE -e 's#^ *(\[[0-9]+/[0-9]+\]) .*#\1#p' \
      -e 's#^ *((Collecting|Downloading|Building wheel for) [^ ]*|Installing collected packages).*#\1#p' |
    sed -E 's#[a-z]+://.*/##' | tail -n 1
}

# Runs a command with its output in the log and a line of progress now and then; fails if the command does.
logged() {
  local begun=$SECONDS next=20
  printf '\n$ %s\n' "$*" >> "$log"
  set -m # a process group of its own, so that an interrupt ends the compilers too
  "$@" >> "$log" 2>&1 < /dev/null &
  running=$!
  set +m
  while kill -0 "$running" 2> /dev/null; do
    sleep 0.1
    if ((SECONDS - begun >= next)); then
      say "      $(duration $((SECONDS - begun))) $(latest)"
      next=$((next + 20))
    fi
  done
  local status=0
  wait "$running" || status=$?
  running=
  return $status
}

step() {
  logged "$@" && return
  say "--- the end of $log:" >&2
  tail -n 15 "$log" >&2
  die "$doing; all output is in $log; the same command tries again"
}

begin() {
  doing="$1 $2"
  say "$1 $2: $3"
}

pip_install() { step "$venv_python" -m pip install --no-input --disable-pip-version-check --progress-bar off "$@"; }

interrupted() {
  trap '' INT TERM HUP PIPE
  if [[ -n $running ]]; then
    { kill -TERM -- "-$running" && wait "$running"; } 2> /dev/null || true
  fi
  say 'set-up interrupted; the same command continues it' >&2
  exit 130
}

check_python() {
  local version wanted
  wanted=$(pythons | sed 's/ / or /g')
  command -v "$1" > /dev/null || die "$1 not found; install Python $wanted, or $2"
  version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null) || die "$1 does not run; $2"
  [[ " $(pythons) " == *" $version "* ]] || die "$1 is Python $version, needed is $wanted; $2"
  "$1" -c 'import ensurepip, venv' 2> /dev/null || die "$1 has no venv module; install it, such as python3-venv"
}

check_compiler() {
  local cxx headers
  read -r -a cxx <<< "${CXX:-c++}"
  command -v "${cxx[0]}" > /dev/null || die "no C++ compiler (${cxx[0]}) found; install one, such as g++"
  headers=$("$1" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
  "${cxx[@]}" -std=c++17 -fsyntax-only -x c++ -I "$headers" - <<< '#include <Python.h>' 2> /dev/null ||
    die "${cxx[*]} cannot compile against Python's headers in $headers; install them, such as python3-dev"
}

# False for an environment that was cut short while being made, or copied here from another folder.
venv_works() { "$venv_python" -m pip --version > /dev/null 2>&1 && grep -qF "$(pwd -P)/$venv/" "$venv/bin/pip"; }

check_prerequisites() {
  [[ -f $pins ]] || die "STACK=$STACK: expected one of $(cd requirements && echo *.txt | sed 's/\.txt//g')"
  if venv_works; then
    check_python "$venv_python" "remove $venv and try again"
    check_compiler "$venv_python"
  else
    check_python "$PYTHON" 'name one with PYTHON=/path/to/python'
    check_compiler "$PYTHON"
  fi
}

# pip takes a package that it was killed while unpacking for an installed one; it writes INSTALLER last.
forget_half_installed() {
  local info
  for info in "$venv"/lib/python*/site-packages/*.dist-info; do
    [[ ! -d $info || -e $info/INSTALLER ]] || rm -rf "$info"
  done
}

make_venv() {
  if venv_works; then
    forget_half_installed
    return
  fi
  find "$venv/" -mindepth 1 -maxdepth 1 ! -name lock ! -name setup.log -exec rm -rf {} +
  step "$PYTHON" -m venv "$venv"
}

# cuda if mmcv can compile its CUDA operators here, else cpu
operators() {
  if [[ ${FORCE_CUDA:-0} == 1 ]]; then
    echo cuda
    return
  fi
  "$venv_python" - <<< '
import re, subprocess, torch
from torch.utils.cpp_extension import CUDA_HOME
usable = False
if torch.cuda.is_available() and CUDA_HOME:
    nvcc = subprocess.run([CUDA_HOME + "/bin/nvcc", "--version"], capture_output=True, text=True).stdout
    release = re.search(r"release (\d+)", nvcc)
    usable = release is not None and torch.version.cuda.split(".")[0] == release[1]
print("cuda" if usable else "cpu")'
}

cache_folder() {
  local tag
  tag=$("$venv_python" -c '
import sys, sysconfig
print("cp%d%d-%s" % (*sys.version_info[:2], sysconfig.get_platform()))')
  echo "${XDG_CACHE_HOME:-$HOME/.cache}/mixskd_mm/wheels/mmcv-$(pin "$(mmcv)")-torch-$(pin torch)-$tag-$1"
}

# A compiler job takes up to 2 GB.
compiler_jobs() {
  local cores memory
  cores=$(nproc 2> /dev/null || getconf _NPROCESSORS_ONLN)
  memory=$(awk '/^MemAvailable/ { print int($2 / 2000000) }' /proc/meminfo 2> /dev/null || echo "$cores")
  echo $((memory < 1 ? 1 : memory < cores ? memory : cores))
}

# Leaves the wheel in the folder $1 only when it is whole and has the operators.
compile_mmcv() {
  local folder=$1 kind=$2 jobs=${MAX_JOBS:-$(compiler_jobs)} wheel
  local length="about $(((12 + jobs - 1) / jobs)) minutes with $jobs compiler jobs"
  [[ $kind == cpu ]] || length="much longer than the $length that the CPU operators take"
  begin '[3/5]' "compiling mmcv's C++ operators for torch $(pin torch)" "$length (once per machine)"
  mkdir -p "$folder" 2> /dev/null && [[ -w $folder ]] || die "cannot write to $folder; choose another XDG_CACHE_HOME"
  rm -rf "$scratch"
  mkdir -p "$scratch/tmp"
  local -a build=(env "PATH=$PWD/$venv/bin:$PATH" "TMPDIR=$PWD/$scratch/tmp" "MAX_JOBS=$jobs"
    "CFLAGS=${CFLAGS:-} -g0" MMCV_WITH_OPS=1)
  # mmcv compiles for CUDA wherever it sees a GPU, with or without a compiler for it.
  if [[ $kind == cuda ]]; then build+=(FORCE_CUDA=1); else build+=(FORCE_CUDA=0 CUDA_VISIBLE_DEVICES=); fi
  step "${build[@]}" "$venv_python" -m pip wheel -v --no-input --disable-pip-version-check --no-cache-dir \
    --no-build-isolation --no-deps --no-binary "$(mmcv)" -w "$scratch" "$(mmcv)==$(pin "$(mmcv)")"
  wheel=$(echo "$scratch"/*.whl)
  step "$venv_python" -c 'import sys, zipfile
names = zipfile.ZipFile(sys.argv[1]).namelist()
sys.exit(None if any(n.startswith("mmcv/_ext.") for n in names) else "the wheel has no compiled operators")' "$wheel"
  cp "$wheel" "$folder/$$.partial"
  mv -f "$folder/$$.partial" "$folder/${wheel##*/}"
  rm -rf "$scratch"
}

# The operators link against this very torch, so try them rather than believe the wheel's name.
operators_load() {
  logged "$venv_python" -c 'import ctypes, glob, sysconfig, torch
(library,) = glob.glob(sysconfig.get_path("platlib") + "/mmcv/_ext.*")
ctypes.CDLL(library)'
}

install_mmcv() {
  local kind folder
  kind=$(operators 2>> "$log") || die "torch cannot be imported, see the end of $log"
  folder=$(cache_folder "$kind")
  local -a install=(--no-deps --force-reinstall)
  if compgen -G "$folder/*.whl" > /dev/null; then
    begin '[3/5]' "installing mmcv" 'seconds, its operators were compiled before'
    pip_install "${install[@]}" "$folder"/*.whl
    operators_load && return
    say '      the operators compiled before do not fit this torch'
    rm -f "$folder"/*.whl
  fi
  compile_mmcv "$folder" "$kind"
  pip_install "${install[@]}" "$folder"/*.whl
  operators_load || die "the compiled operators do not load, see the end of $log"
}

set_up() {
  say "setting up $venv, once: 6 GB, up to about 10 minutes on 2 cores with a fast network (log: $log)"
  : > "$log"
  rm -f "$venv/ready"
  # Of the start: what changes meanwhile is not installed.
  local made_from
  made_from=$(fingerprint)
  begin '[1/5]' 'making the virtual environment' 'seconds'
  make_venv
  begin '[2/5]' "installing torch $(pin torch)" '1 to 5 minutes, a download of 2 GB'
  pip_install -c "$pins" torch torchvision numpy setuptools wheel packaging ninja psutil
  install_mmcv
  begin '[4/5]' 'installing the other libraries and this package' 'about 1 minute'
  pip_install -r "$pins"
  pip_install --no-build-isolation -c "$pins" -e '.[export,dev]'
  begin '[5/5]' 'importing the libraries' 'about 10 seconds'
  step "$venv_python" -c 'import torchvision, mmengine, mmcv.ops, mmpretrain, mmdet, mmseg'
  printf '%s\n' "$made_from" > "$venv/ready"
  say "set-up done in $(duration $SECONDS)"
}

! is_ready || exit 0
check_prerequisites
trap interrupted INT TERM HUP PIPE
mkdir -p "$venv"
exec 9> "$venv/lock"
if command -v flock > /dev/null && ! flock -n 9; then
  say 'another set-up is running in this folder; waiting for it'
  until flock -w 20 9; do say "      $(duration $SECONDS) waiting"; done
  ! is_ready || exit 0
fi
set_up
