# Everything here sets itself up on a machine with Python 3.11 and nothing else.
PYTHON ?= python3.11
BIN := .venv/bin
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	--python-version 3.11

.PHONY: setup demo test test-fuzz test-torture bench test-cloud test-dataflow test-prism test-airflow test-flink test-spark lint types lock clean

setup: .venv/ready

# The lock is installed with its hashes checked; the package itself is linked in, so edits take effect at once.
.venv/ready: requirements-dev.txt pyproject.toml setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/faceveil models fetch
	touch $@

demo: setup
	$(BIN)/python -m demo

test: setup
	$(BIN)/python -m pytest

# 5,000 damaged images and TFRecords in one job, about a quarter of an hour; prints what it found.
test-fuzz: setup
	$(BIN)/python -m tests.fuzz 5000

# Killed jobs, full disks, two jobs on one output, about a quarter of an hour; as the super-user, for a small tmpfs.
test-torture: setup
	$(BIN)/python -m tests.torture

# Speed side by side with others, half an hour on two quiet cores: benchmark-output/results.{json,md,png}.
# deface has a virtual environment of its own, since its OpenCV clashes with ours.
bench: setup .venv-deface/ready
	test -d ../shared/data/wider-dev || $(MAKE) demo
	rm -rf benchmark-output
	$(BIN)/python -m benchmarks

.venv-deface/ready: benchmarks/deface.txt
	$(PYTHON) -m venv .venv-deface
	.venv-deface/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/deface.txt
	touch $@

# Jobs by Beam's own DataflowRunner, in a stand-in for Dataflow whose workers have an environment of their own, made as
# configs/Dockerfile says: about seven minutes.
test-dataflow: setup
	$(BIN)/python -m pytest tests/dataflow/whole_jobs.py

# Jobs from bucket to bucket while requests fail and jobs are killed, about a quarter of an hour. Where Go is installed,
# Cloud Storage is fake-gcs-server, which checks preconditions and lists in pages; else the simpler emulator of `make test`.
test-cloud: setup
	! command -v go >/dev/null || GOBIN=$(CURDIR)/$(BIN) go install github.com/fsouza/fake-gcs-server@v1.56.1
	export FACEVEIL_FAKE_GCS_SERVER=$$(ls $(BIN)/fake-gcs-server 2>/dev/null); \
	$(BIN)/python -m pytest tests/transforms/stores tests/test_cloud_storage.py && $(BIN)/python -m tests.cloud

# Jobs on other runners, killed in the middle, against the DirectRunner's bytes; five minutes each. What they need beside
# the lock they get into .clusters/: Prism by Go, Airflow, Flink and Spark as wheels, Beam's job servers by Maven.
test-prism: setup
	$(BIN)/python -m tests.clusters.prism

test-airflow: setup
	$(BIN)/python -m tests.clusters.airflow

test-flink: setup
	$(BIN)/python -m tests.clusters.flink

test-spark: setup
	$(BIN)/python -m tests.clusters.spark

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# Upgrades every pin to the newest release that the ranges in pyproject.toml allow.
lock: setup
	$(COMPILE) --upgrade pyproject.toml --output-file requirements.txt
	$(COMPILE) pyproject.toml --extra gpu --constraint requirements.txt --output-file requirements-gpu.txt
	$(COMPILE) pyproject.toml --extra dev --constraint requirements.txt --output-file requirements-dev.txt
	for name in benchmarks/deface $(addprefix tests/clusters/requirements/,airflow flink spark); do \
		$(COMPILE) --upgrade $$name.in --output-file $$name.txt || exit; done

clean:
	rm -rf .venv .venv-deface demo-output benchmark-output .clusters
