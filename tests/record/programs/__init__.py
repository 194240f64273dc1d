"""Small programs of the kinds that people really run; each leaves in EXPECTED what it computed itself.

`steps`: optimizer steps. `losses`: what it differentiated, for each step (the mean over its micro-steps where it
accumulates). `evaluations`: for each split the losses that it printed, pass by pass.
"""
