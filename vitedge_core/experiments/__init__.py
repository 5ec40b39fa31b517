"""Trainings, runs, sweeps and fronts."""
