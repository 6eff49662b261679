"""mc_sink: a frame into somebody else's bucket, validated, whole or not at all."""
