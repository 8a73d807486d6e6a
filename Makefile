# Everything here sets itself up on a machine with Python 3.11, 3.12 or 3.13 and nothing else.
PYTHON ?= python3.11 python3.12 python3.13 python3
BIN := .venv/bin
# Images of containers tend to set it; then each of the hundreds of processes that tests start compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

# A virtual environment by the first of these Pythons that is there, fits and can make one: Debian's need a package for that.
define make_venv
for python in $(PYTHON); do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue; \
	"$$python" -m venv --clear $(1) >/dev/null 2>&1 && exit 0; \
	cannot="$$cannot; $$python cannot make one"; \
done; \
echo "error: no Python 3.11, 3.12 or 3.13 here makes a virtual environment (tried $(PYTHON)$$cannot)." >&2; \
echo "Install one (Debian, Ubuntu: apt-get install python3-venv; macOS: brew install python@3.13), or name yours:" >&2; \
echo "make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; \
exit 1
endef

# $(call install,FOLDER,LOCK). A lock names every package, so nothing is resolved: neither what is newest today nor the
# version of pip changes anything. What comes as source is built by locked packages, too. `pip check` then says whether all
# that is there fits together.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation
define install
$(1)/bin/python $(PIP_INSTALL) --require-hashes -r requirements-build.txt
$(1)/bin/python $(PIP_INSTALL) --require-hashes -r $(2)
$(1)/bin/python -m pip check
endef

.PHONY: setup demo test test-fuzz test-torture bench test-cloud test-dataflow test-prism test-training test-programs test-models test-workers test-surroundings test-browser test-airflow test-flink test-spark test-install test-readers test-torch test-tfio \
	lint types docs site test-docs mutate lock check-locks clean

setup: .venv/ready

# The package itself is linked in, so edits take effect at once.
.venv/ready: requirements-build.txt requirements-dev.txt pyproject.toml setup.py
	@$(call make_venv,.venv)
	$(call install,.venv,requirements-dev.txt)
	$(BIN)/python $(PIP_INSTALL) --editable .
	touch $@

demo: setup
	$(BIN)/python -m demo

# In several processes, a file of tests in one of them: one more than there are cores, for some tests wait, but no more than
# four, for each loads TensorFlow.
test: setup
	cores=$$(getconf _NPROCESSORS_ONLN); \
	$(BIN)/python -m pytest --numprocesses $$((cores < 3 ? cores + 1 : 4)) --dist loadfile --no-loadscope-reorder -m "not buckets and not workers" \
		$(patsubst %,--ignore %,$(PROGRAMS) $(SURROUNDINGS) $(LEARNING) $(MODELS) $(DATAFLOW) faceveil/training/shipped)

# faceveil in Python programs, notebooks and pipelines of others, in processes of their own, and commands beside `run`, which
# load the detector again and again: five minutes.
PROGRAMS := $(patsubst %,tests/pipeline/test_%.py,anonymizer beam_page doctor graph preview python_page run)
test-programs: setup
	$(BIN)/python -m pytest $(PROGRAMS)

# Detectors of users' own, by TensorFlow, OpenVINO and as ONNX files, how they are built and compared: four minutes.
MODELS := tests/test_own_detectors.py tests/test_onnx_detectors.py tests/test_verifier.py tests/transforms/models/test_cache.py \
	$(patsubst %,tests/transforms/detectors/test_%.py,object_detection_api onnx_load engines_on_photos)
test-models: setup
	$(BIN)/python -m pytest $(MODELS)

# Several worker processes write what one does, from and to every format; `make test` tries TFRecords: two minutes.
WORKERS := $(patsubst %,tests/test_%.py,boxes folders formats large_files parquet webdataset)
test-workers: setup
	$(BIN)/python -m pytest -m workers $(WORKERS)

# Jobs with too little memory, and every address that a job asks for, by strace: two minutes.
SURROUNDINGS := tests/test_little_memory.py tests/test_phones_nobody.py tests/transforms/runtime/test_too_little_memory.py
test-surroundings: setup
	$(BIN)/python -m pytest $(SURROUNDINGS)

# The page about a job in Chromium, of a million made-up records too: two minutes. Leaves pictures of it in browser-output.
test-browser: setup
	$(BIN)/python -m pytest tests/browser/whole_pages.py

# Whatever trains networks, or measures speed: detectors of one's own, attackers, what made the weights that the package ships.
LEARNING := tests/training tests/benchmarks tests/pipeline/test_evaluate_privacy.py tests/pipeline/test_evaluate_anonymizers.py \
	tests/evaluation/test_attackers.py tests/evaluation/test_embedding.py
test-training: setup
	$(BIN)/python -m pytest $(LEARNING)

# What is written from the code: the tables of options.
docs: setup
	$(BIN)/python -m faceveil.pipeline.option_page docs/options.md

# The pages in docs/ as a site, in site-output/: open site-output/index.html. A warning, such as of a link that leads nowhere, is an error.
# Sphinx has a virtual environment of its own; neither building the site nor reading it needs a network.
site: .venv-docs/ready
	rm -rf site-output
	.venv-docs/bin/python -m sphinx --builder html --fail-on-warning --keep-going --quiet --fresh-env docs site-output

.venv-docs/ready: requirements-build.txt requirements-docs.txt
	@$(call make_venv,.venv-docs)
	$(call install,.venv-docs,requirements-docs.txt)
	touch $@

# The site, and every command of README and docs that can be run, in folders with inputs that are made up: three minutes.
# Whether all others would be taken is part of `make test`.
test-docs: setup .venv-docs/ready
	$(BIN)/python -m pytest tests/docs/whole_site.py tests/docs/whole_pages.py

# 5,000 damaged images and TFRecords in one job, about a quarter of an hour; prints what it found.
test-fuzz: setup
	$(BIN)/python -m tests.fuzz 5000

# Changes the code a little, at seeded places, and runs the tests that should fail; half an hour on two cores.
mutate: setup
	$(BIN)/python -m tests.mutants

# Killed jobs, full disks, two jobs on one output, about a quarter of an hour; as the super-user, for a small tmpfs.
test-torture: setup
	$(BIN)/python -m tests.torture

# Speed side by side with others, half an hour on two quiet cores: benchmark-output/results.{json,md,png}.
# deface has a virtual environment of its own, since its OpenCV clashes with ours.
bench: setup .venv-deface/ready
	test -d ../shared/data/wider-dev || $(MAKE) demo
	rm -rf benchmark-output
	$(BIN)/python -m benchmarks

.venv-deface/ready: requirements-build.txt benchmarks/deface.txt
	@$(call make_venv,.venv-deface)
	$(call install,.venv-deface,benchmarks/deface.txt)
	touch $@

# Jobs by Beam's own DataflowRunner, in a stand-in for Dataflow whose workers have an environment of their own, made as
# configs/Dockerfile says: about seven minutes.
DATAFLOW := tests/dataflow/test_request.py
test-dataflow: setup
	$(BIN)/python -m pytest tests/dataflow/whole_jobs.py $(DATAFLOW)

# Jobs from bucket to bucket while requests fail and jobs are killed, about a quarter of an hour. Where Go is installed,
# Cloud Storage is fake-gcs-server, which checks preconditions and lists in pages; else a simpler emulator.
test-cloud: setup
	! command -v go >/dev/null || GOBIN=$(CURDIR)/$(BIN) go install github.com/fsouza/fake-gcs-server@v1.56.1
	export FACEVEIL_FAKE_GCS_SERVER=$$(ls $(BIN)/fake-gcs-server 2>/dev/null); \
	$(BIN)/python -m pytest -m buckets tests && $(BIN)/python -m tests.cloud

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

# Outputs read back by the libraries that users read them with, which have an environment of their own: four minutes.
test-readers: setup .venv-readers/ready
	$(BIN)/python -m pytest tests/readers/whole_outputs.py

.venv-readers/ready: requirements-build.txt tests/readers/requirements.txt
	@$(call make_venv,.venv-readers)
	$(call install,.venv-readers,tests/readers/requirements.txt)
	touch $@

# The same with PyTorch's DataLoader and FiftyOne, in an environment of 6 GB: three minutes.
test-torch: setup .venv-torch/ready
	$(BIN)/python -m pytest tests/readers/whole_torch.py

.venv-torch/ready: requirements-build.txt tests/readers/torch.txt
	@$(call make_venv,.venv-torch)
	$(call install,.venv-torch,tests/readers/torch.txt)
	touch $@

# DICOM, OpenEXR, JPEG 2000 and Radiance HDR, read with tensorflow-io, which works with one TensorFlow alone, so in an
# environment of its own, on Python 3.11 or 3.12: two minutes.
test-tfio: PYTHON = python3.11 python3.12
test-tfio: .venv-tfio/ready
	.venv-tfio/bin/python -m pytest --noconftest tests/tfio/whole_formats.py

.venv-tfio/ready: requirements-build.txt requirements-tfio.txt tests/tfio/requirements.txt pyproject.toml
	@$(call make_venv,.venv-tfio)
	$(call install,.venv-tfio,requirements-tfio.txt)
	.venv-tfio/bin/python $(PIP_INSTALL) --require-hashes -r tests/tfio/requirements.txt
	.venv-tfio/bin/python $(PIP_INSTALL) --editable .
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# Upgrades every pin to the newest release that the ranges in pyproject.toml allow.
lock: setup
	$(BIN)/python -m tests.install.locks upgrade

# Proves that every lock is complete and consistent, for each Python and platform; what is newest does not matter.
check-locks: setup
	$(BIN)/python -m tests.install.locks check

# The wheel and the sdist in environments of their own, by several installers and every Python that is here, without network.
test-install: setup
	$(BIN)/python -m pytest tests/install/whole_installs.py

clean:
	rm -rf .venv .venv-deface .venv-docs .venv-readers .venv-torch .venv-tfio demo-output benchmark-output site-output browser-output .clusters
