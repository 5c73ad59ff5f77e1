;; Throws an exception that nobody catches.
(module
  (memory (export "memory") 1)
  (tag $oops (param i32))
  (func (export "_start") (throw $oops (i32.const 42))))
