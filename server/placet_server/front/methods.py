"""Which methods a front answers itself."""

from __future__ import annotations

EVALUATE = "/placet.v1.EvaluateService/Evaluate"
EVALUATE_BATCH = "/placet.v1.EvaluateService/EvaluateBatch"
EVALUATE_STREAM = "/placet.v1.EvaluateService/EvaluateStream"
HOT_METHODS = (EVALUATE, EVALUATE_BATCH, EVALUATE_STREAM)
