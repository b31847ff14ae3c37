# Sourced by the other scripts: a virtual environment in .venv and the package in it.
# PYTHON names another interpreter than python3.

install_package() { # install_package REQUIREMENT [pip options]
  [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
  if ! .venv/bin/python -c "import llama_cpp" 2>/dev/null; then
    echo "Installing. Building llama.cpp takes some 4 to 10 minutes; pip keeps the result for the next time." >&2
  fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "${@:2}" "$1"
}
