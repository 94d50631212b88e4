import java.io.PrintStream;
import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/** Runs test classes and prints a line for each test: verdict, name, and what went wrong, with tabs between them. */
public class Runner {
    public static void main(String[] classes) throws Exception {
        PrintStream out = System.out;
        System.setOut(System.err);
        new com.rabbitmq.client.test.AbstractRMQTestSuite() {}; // reads the properties that the tests look at
        JUnitCore core = new JUnitCore();
        core.addListener(new RunListener() {
            private String verdict;
            private String problem;

            private String name(Description d) {
                Class<?> c = d.getTestClass();
                return c == null ? d.getDisplayName() : c.getSimpleName() + "." + d.getMethodName();
            }

            private void print(Description d) {
                out.println(verdict + "\t" + name(d) + "\t" + problem.replaceAll("\\s+", " "));
                out.flush();
            }

            @Override public void testStarted(Description d) {
                verdict = "pass";
                problem = "";
            }

            @Override public void testFailure(Failure f) {
                boolean started = f.getDescription().getMethodName() != null;
                verdict = "fail";
                problem += f.getTrace();
                if (!started) print(f.getDescription());
            }

            @Override public void testAssumptionFailure(Failure f) {
                verdict = "skip";
            }

            @Override public void testIgnored(Description d) {
                verdict = "skip";
                problem = "";
                print(d);
            }

            @Override public void testFinished(Description d) {
                print(d);
            }
        });
        for (String name : classes) core.run(Class.forName(name));
        System.exit(0);
    }
}
