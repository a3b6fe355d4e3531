"""Where objects come from: files of YAML become the values of `model`, checked once, on the way in.

    directory -> manifests -> (yaml_documents, fields, kinds) -> store -> assemble -> model.mesh.Mesh

`yaml_documents` turns bytes into nodes that know their lines, `fields` is the cursor every kind is parsed with,
`kinds` says what a kind is, `registry` lists them all, `manifests` parses a file, `store` keeps the last good of
every object, `assemble` makes the mesh of them. A new kind is one file with its `Kind`, and one line in `registry`.
"""
