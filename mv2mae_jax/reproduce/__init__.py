"""The paper's claims on data that everyone can make: rows, their runs, and a judgement of each."""
