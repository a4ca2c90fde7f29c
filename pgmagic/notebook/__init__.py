"""The notebook surface: the only room that imports IPython. Magics parse, call and return; nothing else."""
