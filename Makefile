# What a user or a developer types. Everything installs what it needs by itself.
.PHONY: demo test test-long trees lint bench bench-check bench-profile clean

demo:
	@scripts/setup.sh run
	@.venv/bin/python bench/trees.py --nodes 2 lua5.4 re2

test:
	@scripts/setup.sh test
	.venv/bin/python -m pytest -q -rs -n 2 --dist loadfile --no-loadscope-reorder tests

test-long:
	@scripts/setup.sh long
	MANYCC_TEST_LONG=1 .venv/bin/python -m pytest -q -rs tests

trees:
	@scripts/setup.sh long
	.venv/bin/python bench/trees.py --all --markdown -

lint:
	@scripts/setup.sh test
	.venv/bin/ruff check src tests bench setup.py
	.venv/bin/ruff format --check src tests bench setup.py
	.venv/bin/mypy

bench:
	@scripts/setup.sh test
	.venv/bin/python bench/hotpath.py

bench-check:
	@scripts/setup.sh test
	.venv/bin/python bench/check.py

bench-profile:
	@scripts/setup.sh bench
	.venv/bin/python bench/profile_hotpath.py

clean:
	rm -rf .venv build dist bench/out
