;; Asks for all of the 4 GiB that a memory can have, from the start.
(module
  (memory (export "memory") 65536)
  (func (export "_start")))
