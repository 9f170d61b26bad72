"""Foreign attack libraries behind the port `lip_plugin.evaluate.attack.EmpiricalAttack`, one file per library."""
