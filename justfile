# Tasks for people who work on graftwork. `just` lists them; each is one line that can be typed by hand as well.

default:
    @just --list

# The fast tests.
test *arguments:
    OMP_NUM_THREADS=1 pytest {{arguments}}

# Style, types, layers.
lint:
    ruff check
    ruff format --check
    mypy
    lint-imports

# Put the code into the formatter's form.
format:
    ruff check --fix
    ruff format

# Side-by-side measurements; see benchmarks/README.md. `just bench --tiny` shows that they work.
bench *arguments:
    python benchmarks/everything.py {{arguments}}

# Long runs on real data, before a release.
accept *arguments:
    OMP_NUM_THREADS=1 pytest -m acceptance {{arguments}}

# What continuous integration runs.
ci:
    .ci/run
