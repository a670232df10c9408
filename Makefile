# What people type. Everything else is CMake: see CMakePresets.json.
MODEL  ?= simple_cnn
DATA   ?= fashion-mnist
EPOCHS ?= 5
OUT    ?= runs/$(DATA)
ARGS   ?=
JOBS   ?= $(shell nproc)

build = cmake --preset $(1) && cmake --build --preset $(1) --parallel $(JOBS)

.PHONY: help train build test test-release test-asan test-tsan verified gpu-check bench bench-ops convergence zoo format lint clean bootstrap
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

train: build ## learn Fashion-MNIST; MODEL= DATA= EPOCHS= OUT=, and ARGS=--resume to go on
	build/release/bin/ingot train $(MODEL) --data $(DATA) --epochs $(EPOCHS) --out $(OUT) $(ARGS)

build: bootstrap ## build the library and build/release/bin/ingot
	$(call build,release)

test: bootstrap ## every test in release, the fast ones under the sanitizers
	python3 tools/run_tests.py --jobs $(JOBS) ci asan tsan

test-release: bootstrap ## every test, release build, warnings are errors
	python3 tools/run_tests.py --jobs $(JOBS) ci

test-asan: bootstrap ## the fast tests under the address and undefined-behaviour sanitizers
	python3 tools/run_tests.py --jobs $(JOBS) asan

test-tsan: bootstrap ## the fast tests under the thread sanitizer
	python3 tools/run_tests.py --jobs $(JOBS) tsan

verified: ## docs/verified.md from the last `make test-release`; commit first, so that the record names the commit
	python3 tools/verified.py --record build/release
	python3 tools/verified.py --write

gpu-check: ## on a machine with a GPU: tests, sanitizer, benchmarks; ARGS=--dry-run shows what it would do
	tools/gpu_check.sh $(ARGS)

bench: build ## Ingot and PyTorch side by side on the CPU
	python3 benchmarks/compare.py --cpu $(ARGS)

bench-ops: bootstrap ## each op alone: time, kernel, FLOP/s and bytes/s; ARGS=--benchmark_filter=conv2d
	cmake --preset release -DINGOT_BUILD_BENCHMARKS=ON && cmake --build --preset release --parallel $(JOBS) --target op_benchmarks
	build/release/bin/op_benchmarks $(ARGS)

convergence: build ## final accuracies in f32, bf16 and f16 over three seeds, into docs/convergence.md; about an hour
	python3 benchmarks/convergence.py --run $(ARGS)
	python3 benchmarks/convergence.py --docs

zoo: bootstrap ## every model's training on the simulated device against the CPU; half an hour
	$(call build,ci) --target test_cuda_sim_plain
	build/release/bin/test_cuda_sim_plain --gtest_filter=All/CudaBackendZoo*

format: ## clang-format over all C++ files
	tools/bootstrap.sh --lint
	git ls-files -z '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -0 clang-format -i

lint: ## clang-format in check mode, then clang-tidy; FILES= for some files only
	tools/bootstrap.sh --lint
	git ls-files -z '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -0 clang-format --dry-run -Werror
	cmake --preset release
	@printf '%s\n' $(or $(FILES),$$(git ls-files '*.cpp' ':!tests/install/consumer')) | xargs -n 1 -P $(JOBS) clang-tidy --quiet -p build/release \
		--extra-arg=-include$(CURDIR)/tools/lint/source_location.h

clean: ## remove what was built, but not build/deps
	find build -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} + 2>/dev/null || true

bootstrap: ## install what is missing to build
	@tools/bootstrap.sh
