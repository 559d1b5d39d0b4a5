"""The door: jobs from their submission to their last token, the stores and streams behind them, the
engine kept alive.
"""
