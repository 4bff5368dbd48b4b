import time,cProfile,pstats
def test_p(user,pump):
    N=200
    for i in range(N): user.post("/api/workflows/execute",{"taskId":f"t{i}","intent":"fix-bug","repo":"https://x/y","naturalLanguage":"do"})
    pump.drain()
    b=user.post("/api/agents",{"agentId":"b","name":"n","version":"1","platform":"linux","capabilities":["none"]}).json()["token"]
    B=user.acting_as(b)
    for f in (lambda:B.get("/api/agents/b/commands"), lambda:user.get("/api/tasks")):
        p=cProfile.Profile(time.process_time); p.enable(); f(); f(); f(); p.disable()
        pstats.Stats(p).sort_stats("cumtime").print_stats("moto|wire|pynamodb",45)
