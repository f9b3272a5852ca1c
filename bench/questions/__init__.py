"""One module for each question about cost or behaviour: `python -m bench.questions.NAME`."""
