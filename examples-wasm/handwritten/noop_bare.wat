;; Does nothing, imports nothing: the least that a command can cost.
(module
  (memory (export "memory") 1)
  (func (export "_start")))
