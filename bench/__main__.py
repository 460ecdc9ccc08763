"""`python -m bench`, for `accelerate launch -m bench train NAME`."""

from bench.cli import main

main(prog_name="bench")
