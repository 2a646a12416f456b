"""What it costs: GlobalTable measured on this machine, and beside it what one would otherwise take.

`python -m globaltable.bench` is the command (`command.py`). From there:

* `scenarios/`: what is measured, one module each; `systems/`: what it is measured of;
* `network`: regions joined with injected round trips;
* `workers`, `worker`, `activities/`: load, from processes of their own in the regions;
* `results`, `histogram`: what was found, as values and in JSON; `report/`: how it is shown.
"""
