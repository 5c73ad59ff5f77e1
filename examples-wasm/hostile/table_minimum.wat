;; Asks for a table of ten million elements, from the start: host memory outside any memory.
(module
  (memory (export "memory") 1)
  (table 10000000 funcref)
  (func (export "_start")))
