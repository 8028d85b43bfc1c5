"""Evaluate a checkpoint, or a folder of predictions, and write a report.

- ``inputs`` selects what to evaluate when some of it is not specified.
- ``predict`` runs a checkpoint; ``truth`` and ``pairs`` match predictions with ground-truth clips.
- ``score`` measures predictions and combines the results of clips.
- ``run`` evaluates a checkpoint (`codetalker eval`); ``measure`` measures a folder of predictions.
- ``folder`` contains the paths of an evaluation; ``report`` and ``charts`` write its HTML page.
- ``words`` compares values in sentences; ``diagnostics`` warns of unusual results.
"""
