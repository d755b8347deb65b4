# The front of the project; each target calls a script that can be run alone.
PYTHON := /usr/bin/python3
PYTEST := $(PYTHON) -m pytest

.PHONY: build run test bench bench-sqlite bench-peers soak faults sim fuzz style format install deb clean help

build: ## build into build/ (installs what is missing from the distribution's packages)
	tools/build.sh

run: ## a demo on SQLite: a shop with orders, the relay, and the proof that nothing is missing
	tools/run.sh

test: ## all tests, on real servers that it starts and stops
	tools/test.sh

bench: build ## the figures of docs/benchmarks.md
	tools/deps.sh test
	$(PYTHON) bench/run.py

bench-sqlite: build ## the figures of SQLite in docs/benchmarks.md
	tools/deps.sh run
	$(PYTHON) bench/sqlite.py

bench-peers: build ## Posthorn beside Debezium: rate, latency, memory, duplicates (about half an hour)
	tools/deps.sh test
	$(PYTHON) bench/peers.py $(PEERS)

soak: build ## half an hour of events and faults: memory, descriptors and latency flat, nothing lost
	tools/deps.sh test
	$(PYTHON) bench/soak.py $(SOAK)

faults: build ## the full fault matrix and its table (POSTHORN_FAULTS=smoke: the short one; ROWS=test_kill: those alone)
	tools/deps.sh test
	tools/failpoints.sh
	rm -f build/matrix.ndjson
	POSTHORN_MATRIX=$(CURDIR)/build/matrix.ndjson POSTHORN_FAULTS=$${POSTHORN_FAULTS:-full} $(PYTEST) test/fault -s $(if $(ROWS),-k "$(ROWS)"); \
	  status=$$?; $(PYTHON) tools/matrix.py build/matrix.ndjson; exit $$status

sim: ## the core in a simulated world, from seeds: make sim SEEDS=10000 FIRST=1
	tools/sim.sh $(SEEDS) $(FIRST)

fuzz: ## the fuzzers, 60 s each
	tools/fuzz.sh 60

style: ## what a machine can check of STYLE.md
	tools/deps.sh test
	$(PYTEST) -q test/style

format: ## mends the formatting of all C files
	tools/format.sh

install: build ## install to the prefix that Meson knows (DESTDIR is honoured)
	meson install -C build

deb: ## the Debian packages, into build-deb/
	tools/deb.sh

clean: ## removes the build folders
	rm -rf build build-*

help: ## this list
	@awk -F ': .*## |: ## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
