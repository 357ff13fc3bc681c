"""The order, realised through oom_score_adj; loaded only where it is the sink."""
