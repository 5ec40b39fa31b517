"""VitEdge: compose compression recipes for vision transformers and see what they cost and break."""
