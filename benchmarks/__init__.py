"""Speed of FlowAtlas against its peers and against bare loops of torch; see `run.py`."""
