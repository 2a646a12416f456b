"""The console: a web page served by a node, for who looks after the cluster.

`app` says what is served; `calls` lets whoever looks or acts in by the client port's own gate;
`survey` and `view` are what there is to be seen, `looked_up` and `changes` what is looked for;
`connections` carries it.
"""
